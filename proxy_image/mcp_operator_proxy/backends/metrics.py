"""Metrics of the gates in front of the backends, read at each scrape: what is gone goes with its server."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mcp_operator_proxy.backends.gate import CircuitState, GateReport

Counts: TypeAlias = tuple[int, int]
"""Connections in use, idle ones."""


class ConnectionsCollector(Collector):
    """`connections` are those of each instance of a server, by its id."""

    def __init__(self, connections: Callable[[], Iterable[tuple[str, Counts]]]) -> None:
        self._connections = connections

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "mcp_proxy_backend_connections", "HTTP connections with the server.", labels=["server", "state"]
        )
        sums: dict[str, Counts] = {}
        for server, (used, idle) in self._connections():
            before = sums.get(server, (0, 0))
            sums[server] = before[0] + used, before[1] + idle
        for server, (used, idle) in sums.items():
            family.add_metric([server, "active"], used)
            family.add_metric([server, "idle"], idle)
        return [family]


class GateCollector(Collector):
    """`gates` are the reports by server id. Counters begin anew when a server's address changes, as Prometheus expects of restarts."""

    def __init__(self, gates: Callable[[], Mapping[str, GateReport]]) -> None:
        self._gates = gates

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        circuit = GaugeMetricFamily(
            "mcp_proxy_backend_circuit_state", "1 for the state of the circuit breaker.", labels=["server", "state"]
        )
        in_flight = GaugeMetricFamily(
            "mcp_proxy_backend_calls_in_flight", "Calls in flight with the server.", labels=["server"]
        )
        waiting = GaugeMetricFamily(
            "mcp_proxy_backend_calls_waiting", "Calls that wait for a free place.", labels=["server"]
        )
        opened = CounterMetricFamily(
            "mcp_proxy_backend_circuit_opened", "Times that the circuit breaker opened.", labels=["server"]
        )
        refused = CounterMetricFamily(
            "mcp_proxy_backend_calls_refused", "Calls not sent: circuit open, or no place in time.", labels=["server"]
        )
        for server, gate in self._gates().items():
            for state in get_args(CircuitState):
                circuit.add_metric([server, state], float(gate.circuit == state))
            in_flight.add_metric([server], gate.in_flight)
            waiting.add_metric([server], gate.waiting)
            opened.add_metric([server], gate.opened)
            refused.add_metric([server], gate.refused)
        return [circuit, in_flight, waiting, opened, refused]
