"""What became of spans, counted without a lock: each number is written by one thread."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass
class Counts:
    """`dropped`: the queue was full. `failed`: the collector was away for too long. `rejected`: it did not want them."""

    exported: int = 0
    dropped: int = 0
    failed: int = 0
    rejected: int = 0


class SpanCollector(Collector):
    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily("mcp_proxy_spans", "Spans of traces by what became of them.", labels=["outcome"])
        for field in fields(self._counts):
            family.add_metric([field.name], getattr(self._counts, field.name))
        return [family]
