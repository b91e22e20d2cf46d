"""Requests of the lane that ended well, gathered to be counted together: that costs a third of what it costs to count each."""

import threading
import time
from collections.abc import Sequence
from typing import Final, TypeVar

from mcp_operator_proxy.fastlane.route import Hot
from mcp_operator_proxy.tally import BUCKETS, Tallies, Tally, places

T = TypeVar("T")
ENOUGH: Final = 64 * 3
ENOUGH_LISTS: Final = 64 * 2
"""Of what is gathered; then it is counted."""


class Spent:
    """`gathered` has three things of each call, one after another, as objects of their own would be the garbage collector's:
    what was called, the seconds that it took, and those of them that the proxy added.
    `lists` has two of each list: the tally, and the seconds.
    """

    __slots__ = ("_tallies", "gathered", "lists", "thread")

    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies
        self.gathered: list[Hot | float] = []
        self.lists: list[Tally | float] = []
        self.thread = 0
        """The event loop's: nobody else counts, as counters are changed there."""

    def settle(self) -> None:
        """Count what is gathered. In another thread it waits for the lane, which does so ten times a second."""
        if threading.get_ident() == self.thread:
            self._settle_lists()
            self._settle_calls()

    def _settle_lists(self) -> None:
        lists = self.lists
        if not lists:
            return
        tallies: list[Tally] = lists[0::2]  # type: ignore[assignment]
        seconds: list[float] = lists[1::2]  # type: ignore[assignment]
        lists.clear()
        self._tallies.lane_counted += len(tallies)
        for tally, times in _apart(tallies, seconds).items():
            times.sort()
            tally.add_many(len(times), places(times, BUCKETS), sum(times))

    def _settle_calls(self) -> None:
        gathered = self.gathered
        if not gathered:
            return
        hots: list[Hot] = gathered[0::3]  # type: ignore[assignment]
        seconds: list[float] = gathered[1::3]  # type: ignore[assignment]
        added: list[float] = gathered[2::3]  # type: ignore[assignment]
        gathered.clear()
        added.sort()
        self._tallies.added["lane"].add_many(added)
        self._tallies.lane_counted += len(hots)
        now = time.time()
        for hot, times in _apart(hots, seconds).items():
            found, total = places(sorted(times), BUCKETS), sum(times)
            hot.tally.add_many(len(times), found, total)
            if hot.usage is not None:
                hot.usage.add_many(times, found, total, now)


def _apart(things: Sequence[T], seconds: list[float]) -> dict[T, list[float]]:
    """The seconds of each of the things, which may come more than once."""
    found: dict[T, list[float]] = {thing: [] for thing in set(things)}
    if len(found) == 1:
        return {things[0]: seconds}
    for thing, took in zip(things, seconds, strict=True):
        found[thing].append(took)
    return found
