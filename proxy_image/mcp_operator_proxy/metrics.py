"""The proxy's metrics, in a registry of their own. Labels are bounded: known methods, configured routes and servers."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from mcp_types.methods import SPEC_CLIENT_METHODS
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mcp_operator_proxy.cache import CacheReport
from mcp_operator_proxy.report import ServerReport, StatusReport
from mcp_operator_proxy.tally import BUCKETS, Tallies, Way

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class InFlight:
    """A number that costs nothing to change; the gauge reads it when it is asked."""

    __slots__ = ("beside", "value")

    def __init__(self) -> None:
        self.value = 0
        self.beside: Callable[[], int] = int
        """Those that are counted elsewhere."""

    def __int__(self) -> int:
        return self.value + self.beside()

    def __enter__(self) -> None:
        self.value += 1

    def __exit__(self, *_: object) -> None:
        self.value -= 1


class Metrics:
    """`status` is read at each scrape, so that gauges of what is gone go with it."""

    def __init__(self, status: Callable[[], StatusReport], sessions: Callable[[], dict[str, int]]) -> None:
        self.registry = CollectorRegistry()
        self.tallies = Tallies()
        self.registry.register(self.tallies)
        self.in_flight = InFlight()
        gauge = Gauge("mcp_proxy_requests_in_flight", "HTTP requests being answered.", registry=self.registry)
        gauge.set_function(lambda: int(self.in_flight))
        self.swaps = Counter("mcp_proxy_swaps", "Configurations taken into use.", registry=self.registry)
        self.swap_seconds = Histogram(
            "mcp_proxy_swap_seconds",
            "Time from a new configuration to its use.",
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.rejected = Counter("mcp_proxy_rejected_configs", "Configurations refused.", registry=self.registry)
        self.search_seconds = Histogram(
            "mcp_proxy_search_seconds", "Time to find tools.", buckets=BUCKETS, registry=self.registry
        )
        self.registry.register(_State(status, sessions))

    def observe(self, route: str, method: str, status: str, seconds: float) -> None:
        known = method if method in SPEC_CLIENT_METHODS else "other"
        self.tallies.of(route, known).add(status, seconds)

    def added(self, way: Way, seconds: float | None) -> None:
        """What the proxy added to a request, where that is known."""
        if seconds is not None:
            self.tallies.added[way].add(seconds)

    def refused(self, route: str) -> None:
        """A request that was answered before it became an MCP request: malformed, too large, unknown session."""
        self.tallies.of(route, "none").count("refused")

    def render(self) -> bytes:
        return generate_latest(self.registry)


class _State(Collector):
    def __init__(self, status: Callable[[], StatusReport], sessions: Callable[[], dict[str, int]]) -> None:
        self._status = status
        self._sessions = sessions

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        status = self._status()
        up = GaugeMetricFamily(
            "mcp_proxy_backend_up", "1 where the last attempt to list the server worked.", labels=["server"]
        )
        tools = GaugeMetricFamily("mcp_proxy_server_tools", "Tools of the server.", labels=["server"])
        processes = GaugeMetricFamily(
            "mcp_proxy_stdio_processes", "Processes of a stdio server that the proxy runs.", labels=["server"]
        )
        restarts = CounterMetricFamily(
            "mcp_proxy_stdio_restarts", "Times that such a process ended by itself or hung.", labels=["server"]
        )
        alive, uptime, returns = _of_servers(status)
        for server in status.servers:
            if server.process is not None:
                processes.add_metric([server.id], server.process.processes)
                restarts.add_metric([server.id], server.process.restarts)
            if server.stopped:  # by intent: no reason for an alert
                continue
            up.add_metric([server.id], float(server.state == "ready"))
            tools.add_metric([server.id], len(server.tools))
        sessions = GaugeMetricFamily("mcp_proxy_sessions", "Open sessions of handshake-era clients.", labels=["route"])
        for route, count in self._sessions().items():
            sessions.add_metric([route], count)
        info = GaugeMetricFamily("mcp_proxy_config_info", "The configuration in use.", labels=["revision"])
        if status.revision is not None:
            info.add_metric([status.revision], 1)
        return [up, tools, processes, restarts, sessions, info, alive, uptime, returns]


def _of_servers(status: StatusReport) -> tuple[Metric, Metric, Metric]:
    """Whether they answer, since when, and how often they were started again. A server that was stopped by intent has none."""
    up = GaugeMetricFamily(
        "mcp_server_status",
        "1 where the server answers, else 0: its last listing failed, or its circuit is open. Of several workers the worst.",
        labels=["server_id"],
    )
    uptime = GaugeMetricFamily(
        "mcp_server_uptime_seconds",
        "Age of the process of a server that the proxy runs; of others, time since which each look at it worked."
        " Of several workers the least.",
        labels=["server_id"],
    )
    restarts = CounterMetricFamily(
        "mcp_server_restarts",
        "Ends of the server's processes that nobody asked for; of other servers, returns after a failure,"
        " of several workers the most.",
        labels=["server_id"],
    )
    now = datetime.now(UTC)
    for server in status.servers:
        if server.stopped:
            continue
        up.add_metric([server.id], float(server.state == "ready" and server.circuit != "open"))
        uptime.add_metric([server.id], _uptime(server, now))
        restarts.add_metric([server.id], server.restarts)
    return up, uptime, restarts


def _uptime(server: ServerReport, now: datetime) -> float:
    if server.process is not None and server.process.uptime_seconds is not None:
        return server.process.uptime_seconds
    return max(0.0, (now - server.up_since).total_seconds()) if server.up_since is not None else 0.0


class CacheCollector(Collector):
    """Of the results that are answered from memory, read at each scrape."""

    def __init__(self, report: Callable[[], CacheReport]) -> None:
        self._report = report

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        report = self._report()
        return [
            CounterMetricFamily("mcp_proxy_result_cache_hits", "Calls answered from memory.", report.hits),
            CounterMetricFamily("mcp_proxy_result_cache_misses", "Calls of such tools that were made.", report.misses),
            GaugeMetricFamily("mcp_proxy_result_cache_entries", "Results kept.", report.entries),
            GaugeMetricFamily("mcp_proxy_result_cache_bytes", "Bytes of the results kept, as JSON.", report.size),
        ]
