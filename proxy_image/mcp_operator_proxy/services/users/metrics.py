"""Metrics of users' sessions. A worker counts those that it began or closed; the open ones are those of the records."""

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass
class Counts:
    """Read at each scrape."""

    active: int = 0
    created: int = 0
    destroyed: int = 0
    limit: int | None = None
    """Most that may be open at a time; None where no configuration admits any."""


class UsersCollector(Collector):
    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        counts = self._counts
        limit = GaugeMetricFamily("mcp_user_sessions_limit", "Sessions of users that may be open at a time.")
        if counts.limit is not None:
            limit.add_metric([], counts.limit)
        return [
            limit,
            GaugeMetricFamily("mcp_user_sessions_active", "Open sessions of users, by the records.", counts.active),
            CounterMetricFamily("mcp_user_sessions_created", "Sessions of users that began here.", counts.created),
            CounterMetricFamily("mcp_user_sessions_destroyed", "Sessions of users closed here.", counts.destroyed),
        ]
