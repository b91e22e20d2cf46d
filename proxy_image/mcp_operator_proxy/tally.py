"""Counts and times of MCP requests: adding one costs next to nothing, as the fast lane does it for each call; the
metrics are made of them when somebody scrapes.
"""

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias, get_args

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Upper bounds in seconds, inclusive."""
BOUNDS: Final = [*map(floatToGoString, BUCKETS), "+Inf"]
_FAMILIES: Final = (
    ("mcp_proxy_requests", "MCP requests answered."),
    ("mcp_proxy_request_seconds", "Time to answer a request."),
    ("mcp_proxy_fast_lane_requests", "Requests that the fast lane took."),
)


ADDED: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
"""Of what the proxy adds to a request."""


_ADDED_BOUNDS: Final = [*map(floatToGoString, ADDED), "+Inf"]
_ADDED: Final = (
    "mcp_proxy_added_seconds",
    "Time of a request in the proxy alone: what is left without the time that it waited for its server, or for its user.",
)
Way: TypeAlias = Literal["lane", "full", "rest"]
"""The fast lane, the full path, REST."""
WAYS: Final[tuple[Way, ...]] = get_args(Way)


def places(times: Sequence[float], bounds: Sequence[float]) -> list[tuple[int, int]]:
    """Of sorted `times`: the buckets that they are in, by these inclusive upper `bounds`, and how many in each."""
    found, before = [], 0
    for place, bound in enumerate(bounds):
        upto = bisect_right(times, bound)
        if upto != before:
            found.append((place, upto - before))
            if upto == len(times):
                return found
            before = upto
    if before != len(times):
        found.append((len(bounds), len(times) - before))
    return found


class Times:
    """A histogram with the upper bounds `ADDED`."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(ADDED) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(ADDED, seconds)] += 1
        self.seconds += seconds

    def add_many(self, times: Sequence[float]) -> None:
        """Sorted ones."""
        for place, number in places(times, ADDED):
            self.buckets[place] += number
        self.seconds += sum(times)


class Tally:
    """Of one method on one route."""

    __slots__ = ("buckets", "outcomes", "seconds")

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {}
        self.buckets = [0] * len(BOUNDS)
        self.seconds = 0.0

    def add(self, outcome: str, seconds: float) -> None:
        """One request has been answered."""
        self.count(outcome)
        self.buckets[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds

    def add_many(self, number: int, places: Sequence[tuple[int, int]], total: float) -> None:
        """Requests that were `ok`: how many are in which of the buckets, and the sum of their times."""
        self.outcomes["ok"] = self.outcomes.get("ok", 0) + number
        for place, those in places:
            self.buckets[place] += those
        self.seconds += total

    def count(self, outcome: str) -> None:
        """One request, without its time."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


def _nothing() -> None: ...


class Tallies(Collector):
    """By route and method. `lane_answered` and `lane_handed_over` count what the fast lane took."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str], Tally] = {}
        self.lane_counted = 0
        """Of `lane_answered`, without what is not counted yet."""
        self.lane_handed_over = 0
        self.added: Mapping[Way, Times] = {way: Times() for way in WAYS}
        """What the proxy added to the requests that a server answered."""
        self.settle: Callable[[], None] = _nothing
        """Counts what has been gathered and not counted yet, where it is called in the event loop's thread."""

    @property
    def lane_answered(self) -> int:
        self.settle()
        return self.lane_counted

    def of(self, route: str, method: str) -> Tally:
        """The one to add to, as long as `forget` is not called for the route."""
        key = route, method
        found = self._tallies.get(key)
        if found is None:
            found = self._tallies[key] = Tally()
        return found

    def forget(self, route: str) -> None:
        for key in [key for key in self._tallies if key[0] == route]:
            del self._tallies[key]

    def describe(self) -> Iterable[Metric]:
        (requests, about), (seconds, time), (lane, took) = _FAMILIES
        return [
            CounterMetricFamily(requests, about),
            HistogramMetricFamily(seconds, time),
            CounterMetricFamily(lane, took),
            HistogramMetricFamily(*_ADDED),
        ]

    def collect(self) -> Iterable[Metric]:
        self.settle()
        (requests, about), (seconds, time), (lane, took) = _FAMILIES
        counter = CounterMetricFamily(requests, about, labels=["route", "method", "status"])
        histogram = HistogramMetricFamily(seconds, time, labels=["route", "method"])
        for key, tally in self._tallies.items():
            for outcome, count in tally.outcomes.items():
                counter.add_metric([*key, outcome], count)
            sums = list(itertools.accumulate(tally.buckets))
            if sums[-1]:
                histogram.add_metric(key, list(zip(BOUNDS, map(float, sums), strict=True)), tally.seconds)
        lanes = CounterMetricFamily(lane, took, labels=["outcome"])
        lanes.add_metric(["answered"], self.lane_answered)
        lanes.add_metric(["handed_over"], self.lane_handed_over)
        return [counter, histogram, lanes, self._added()]

    def _added(self) -> Metric:
        family = HistogramMetricFamily(*_ADDED, labels=["way"])
        for way, times in self.added.items():
            sums = itertools.accumulate(list(times.buckets))
            family.add_metric([way], list(zip(_ADDED_BOUNDS, map(float, sums), strict=True)), times.seconds)
        return family
