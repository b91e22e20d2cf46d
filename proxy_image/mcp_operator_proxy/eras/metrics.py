"""Metrics of the calls that are parked while their clients are asked, read at each scrape: a route's go with it."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mcp_operator_proxy.eras.parked import ParkReport


class ParkedCollector(Collector):
    """`lots` are the reports by the path of their route."""

    def __init__(self, lots: Callable[[], Mapping[str, ParkReport]]) -> None:
        self._lots = lots

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        calls = GaugeMetricFamily(
            "mcp_proxy_parked_calls", "Calls that have asked a 2026-07-28 client and not ended.", labels=["route"]
        )
        ended = CounterMetricFamily(
            "mcp_proxy_parked_calls_ended", "Such calls that have ended.", labels=["route", "outcome"]
        )
        refused = CounterMetricFamily(
            "mcp_proxy_parked_calls_refused", "Questions refused, as too many calls were parked.", labels=["route"]
        )
        for route, lot in self._lots().items():
            calls.add_metric([route], lot.calls)
            refused.add_metric([route], lot.refused)
            for outcome, count in lot.ended.items():
                ended.add_metric([route, outcome], count)
        return [calls, ended, refused]
