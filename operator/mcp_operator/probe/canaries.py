"""Keeps making canary calls, each server's through every proxy that serves it, and keeps what they found."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Generic, Self, TypeVar

from mcp_operator.engine.backoff import Backoff
from mcp_operator.engine.scheduler import PeriodicScheduler
from mcp_operator.probe.canary import CanaryCall, CanaryResult, call
from mcp_operator.probe.state import same_error
from mcp_operator_proxy.report import ErrorReport

K = TypeVar("K", bound=Hashable)
_RETRIES: Final = 5
"""Soon after a call is new or triggered and fails: what it needs may just be coming up."""
_RETRY: Final = Backoff(base=0.5, cap=10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryState:
    """What is known of one call. Two are equal when a status would show the same."""

    passing: bool | None = None
    """None until the first call that passed, or as many failures in a row as the threshold says."""
    outcome: str = ""
    """Of the last call that counted; empty before it."""
    message: str = ""
    failures: int = field(default=0, compare=False)
    successes: int = field(default=0, compare=False)


def fold(state: CanaryState, result: CanaryResult, threshold: int, success_threshold: int) -> CanaryState:
    """The state after one more call: `threshold` failures in a row turn it, `success_threshold` good calls turn it back."""
    if result.passed:
        successes = state.successes + 1
        if state.passing is False and successes < success_threshold:
            return replace(state, failures=0, successes=successes)
        return CanaryState(passing=True, outcome=result.outcome, successes=successes)
    failures = min(state.failures + 1, threshold)
    if failures < threshold and state.passing is not False:
        return replace(state, failures=failures, successes=0)
    message = state.message if _same(state, result) else result.message
    return CanaryState(passing=False, outcome=result.outcome, message=message, failures=failures)


def _same(state: CanaryState, result: CanaryResult) -> bool:
    """Whether a failure says what the one before said, but for numbers, times and ids."""
    if state.outcome != result.outcome:
        return False
    old, new = (ErrorReport(error_class="ProtocolError", message=text) for text in (state.message, result.message))
    return same_error(old, new)


@dataclass(slots=True)
class _Watched:
    call: CanaryCall
    interval: float
    threshold: int
    success_threshold: int
    state: CanaryState = field(default_factory=CanaryState)
    retries: int = 0


class Canaries(Generic[K]):
    """`on_change(key)` is called when a call changed the state of `key`, see `states`; what `watch` itself changes is not told.

    At most `concurrency` calls are made at once. A new or changed one is made at once while less than half of that is in use;
    what comes in bulk is spread over `spread` seconds. Intervals waver by a tenth. `on_result(key, result)` hears of every
    call: for metrics. Use as `async with`.
    """

    def __init__(
        self,
        on_change: Callable[[K], None],
        *,
        concurrency: int = 32,
        spread: float = 10.0,
        on_result: Callable[[K, CanaryResult], None] | None = None,
        call: Callable[[CanaryCall], Awaitable[CanaryResult]] = call,
    ) -> None:
        self._on_change = on_change
        self._on_result = on_result
        self._call = call
        self._at_once = max(1, concurrency // 2)
        self._scheduler: PeriodicScheduler[tuple[K, str]] = PeriodicScheduler(concurrency=concurrency, spread=spread)
        self._watched: dict[K, dict[str, _Watched]] = {}

    def watch(
        self, key: K, calls: Mapping[str, CanaryCall], interval: float, threshold: int, success_threshold: int
    ) -> None:
        """From now on make `calls`, by their names, every `interval` seconds, and no others for `key`. Idempotent.

        What was known of a call stays where only headers or times changed.
        """
        known = self._watched.setdefault(key, {})
        for name in known.keys() - calls.keys():
            self._drop(key, name)
        for name, wanted in calls.items():
            watched = known.get(name)
            if watched is not None and watched.call == wanted and watched.interval == interval:
                watched.threshold, watched.success_threshold = threshold, success_threshold
                continue
            fresh = _Watched(wanted, interval, threshold, success_threshold)
            if watched is not None and _same_call(watched.call, wanted):
                fresh.state = watched.state
            self._scheduler.remove((key, name))
            known[name] = fresh
            self._scheduler.set((key, name), interval, partial(self._run, key, name))
            if self._scheduler.running < self._at_once:
                self._scheduler.trigger((key, name))

    def forget(self, key: K) -> None:
        """Make no more calls for `key`. Unknown keys are ignored."""
        for name in [*self._watched.get(key, ())]:
            self._drop(key, name)
        self._watched.pop(key, None)

    def trigger(self, key: K) -> None:
        """Make the calls of `key` now, and soon again if they fail. Unknown keys are ignored."""
        for name, watched in self._watched.get(key, {}).items():
            watched.retries = 0
            self._scheduler.trigger((key, name))

    def states(self, key: K) -> dict[str, CanaryState]:
        """By the names of the calls; empty for an unknown key."""
        return {name: watched.state for name, watched in self._watched.get(key, {}).items()}

    async def aclose(self) -> None:
        """Cancel every call and wait until it has ended."""
        await self._scheduler.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _drop(self, key: K, name: str) -> None:
        del self._watched[key][name]
        self._scheduler.remove((key, name))

    async def _run(self, key: K, name: str) -> None:
        watched = self._watched[key][name]
        result = await self._call(watched.call)
        if self._watched.get(key, {}).get(name) is not watched:
            return
        if self._on_result is not None:
            self._on_result(key, result)
        before = watched.state
        watched.state = fold(before, result, watched.threshold, watched.success_threshold)
        if watched.state != before:
            self._on_change(key)
        if result.passed:
            watched.retries = 0
        elif watched.retries < _RETRIES:
            self._again(key, name, watched)

    def _again(self, key: K, name: str, watched: _Watched) -> None:
        seconds = _RETRY.delay(watched.retries)
        watched.retries += 1
        if seconds < watched.interval:
            asyncio.get_running_loop().call_later(seconds, self._scheduler.trigger, (key, name))


def _same_call(one: CanaryCall, other: CanaryCall) -> bool:
    """Whether both call the same and expect the same, perhaps with other headers and times."""
    return one.target.same_endpoint(other.target) and (one.tool, one.arguments, one.expect) == (
        other.tool,
        other.arguments,
        other.expect,
    )
