"""Calls that are counted together: as if each had been counted by itself."""

import threading
import time
from typing import cast

import pytest

from mcp_operator_proxy.fastlane.route import Hot
from mcp_operator_proxy.fastlane.spent import Spent
from mcp_operator_proxy.tally import BUCKETS, Tallies, places
from mcp_operator_proxy.usage import ToolUsage, Usage


class Called:
    """What is counted of a `Hot`."""

    def __init__(self, tallies: Tallies, method: str, usage: ToolUsage | None) -> None:
        self.tally = tallies.of("/mcp", method)
        self.usage = usage


CALLS = [
    ("one", 0.0004, 0.00004, 10.0),
    ("two", 0.001, 0.00005, 11.0),
    ("one", 0.0011, 0.00006, 12.0),
    ("prompt", 59.9, 0.3, 13.0),
    ("two", 61.0, 2.0, 14.0),
    ("one", 0.0004, 0.00004, 15.0),
]


def things(tallies: Tallies, usage: Usage) -> dict[str, Called]:
    tools = {name: Called(tallies, "tools/call", usage.of("ns/a", name)) for name in ("one", "two")}
    return {**tools, "prompt": Called(tallies, "prompts/get", None)}


def spent(tallies: Tallies, called: dict[str, Called], calls: list[tuple[str, float, float, float]]) -> Spent:
    made = Spent(tallies)
    made.thread = threading.get_ident()
    for name, seconds, added, _ in calls:
        made.gathered.extend((cast("Hot", called[name]), seconds, added))
    return made


@pytest.mark.parametrize("number", range(len(CALLS) + 1))
def test_they_are_counted_as_one_by_one(number: int) -> None:
    calls = CALLS[:number]
    tallies, usage, alone, usage_alone = Tallies(), Usage(), Tallies(), Usage()
    began = time.time()
    together = spent(tallies, things(tallies, usage), calls)
    together.settle()
    together.settle()
    for name, seconds, added, now in calls:
        thing = things(alone, usage_alone)[name]
        thing.tally.add("ok", seconds)
        alone.added["lane"].add(added)
        if thing.usage is not None:
            thing.usage.add("ok", seconds, now)
    for method in ("tools/call", "prompts/get"):
        one, other = tallies.of("/mcp", method), alone.of("/mcp", method)
        assert (one.outcomes, one.buckets) == (other.outcomes, other.buckets)
        assert one.seconds == pytest.approx(other.seconds)
    assert tallies.added["lane"].buckets == alone.added["lane"].buckets
    assert tallies.added["lane"].seconds == pytest.approx(alone.added["lane"].seconds)
    assert tallies.lane_answered == len(calls)
    for key, tool in usage_alone.tools.items():
        found = usage.tools[key]
        assert (found.statuses, found.buckets, found.seconds_max) == (tool.statuses, tool.buckets, tool.seconds_max)
        assert found.last_call_at >= began or not tool.calls
        assert sorted(found.recent) == sorted(tool.recent)  # two tools of a server take turns as they are counted
        assert found.seconds_total == pytest.approx(tool.seconds_total)


def test_lists_are_counted_by_their_tallies() -> None:
    tallies, alone = Tallies(), Tallies()
    made = Spent(tallies)
    made.thread = threading.get_ident()
    for method, seconds in (("tools/list", 0.002), ("prompts/list", 0.0001), ("tools/list", 0.0001)):
        made.lists.extend((tallies.of("/mcp", method), seconds))
        alone.of("/mcp", method).add("ok", seconds)
    made.settle()
    made.settle()
    assert tallies.lane_counted == 3
    for method in ("tools/list", "prompts/list"):
        one, other = tallies.of("/mcp", method), alone.of("/mcp", method)
        assert (one.outcomes, one.buckets) == (other.outcomes, other.buckets)
        assert one.seconds == pytest.approx(other.seconds)


def test_another_thread_counts_nothing() -> None:
    tallies = Tallies()
    together = spent(tallies, things(tallies, Usage()), CALLS)
    other = threading.Thread(target=together.settle)
    other.start()
    other.join()
    assert tallies.lane_answered == 0
    together.settle()
    assert tallies.lane_answered == len(CALLS)


@pytest.mark.parametrize(
    ("times", "found"),
    [
        ([], []),
        ([0.0], [(0, 1)]),
        ([0.001, 0.0011], [(0, 1), (1, 1)]),
        ([0.3, 0.3, 60.0], [(8, 2), (14, 1)]),
        ([60.1, 99.0], [(15, 2)]),
    ],
)
def test_places_have_inclusive_upper_bounds(times: list[float], found: list[tuple[int, int]]) -> None:
    assert places(times, BUCKETS) == found
