"""The bridge's own numbers, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class Metrics:
    """One set for one bridge, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter("mcp_bridge_calls", "Requests answered", ["outcome"], registry=self.registry)
        self.in_flight = Gauge("mcp_bridge_calls_in_flight", "Requests being served", registry=self.registry)
        self.sessions = Gauge("mcp_bridge_sessions", "Sessions that are open", registry=self.registry)
        self.refused = Counter("mcp_bridge_sessions_refused", "Sessions over the limit", registry=self.registry)
        self.restarts = Counter(
            "mcp_bridge_restarts", "Times the server ended and is to be started again", registry=self.registry
        )
        self.garbage = Counter(
            "mcp_bridge_garbage_lines", "Lines of the server that are no message", registry=self.registry
        )
        self.dropped = Counter(
            "mcp_bridge_dropped_notifications", "Notifications that no client took in time", registry=self.registry
        )
        self.up = Gauge("mcp_bridge_server_up", "1 while the server is ready", registry=self.registry)
