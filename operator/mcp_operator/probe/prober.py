"""Probes every server and proxy at its interval and keeps what that found."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final, Generic, Self, TypeVar

from mcp_operator.engine.backoff import Backoff
from mcp_operator.engine.scheduler import PeriodicScheduler
from mcp_operator.probe.facts import ProbeResult, ServerFacts
from mcp_operator.probe.mcp import probe
from mcp_operator.probe.state import REST, ServerHealth, fold, known_before, settling
from mcp_operator.probe.target import Target

K = TypeVar("K", bound=Hashable)
_SETTLE_SECONDS: Final = 0.5
"""Between the first few probes of a server that answers, until its usual latency is known."""
_SETTLED_PER_SECOND: Final = 100
"""Where many are new, so many of those probes are made in a second: what a server has comes first, how fast it is later."""
_RETRIES: Final = 5
"""Soon after a key is new or triggered: a pod that has just become ready takes a moment until its Service leads to it."""
_RETRY: Final = Backoff(base=0.5, cap=10.0)


@dataclass(slots=True)
class _Watched:
    target: Target
    interval: float
    threshold: int
    success_threshold: int
    health: ServerHealth
    retry: float | None = None
    retries: int = 0
    """How many probes were made soon after one that failed; see `_RETRIES`."""
    wanted: bool = True
    """Somebody has asked for a probe: the word of others will not do."""
    doubts: int = 0
    """How often others have begun to say that they do not reach it."""


class Prober(Generic[K]):
    """`on_change(key)` is called when a probe changed the state of `key`, see `health`; what `watch` itself changes is not told.

    At most `concurrency` probes run at once. A new key is probed at once while less than half of that is in use; what comes in
    bulk, as at a start, is spread over `spread` seconds. Intervals waver by a tenth, so that probes drift apart.
    `on_result(key, result)` hears of every probe: for metrics. Use as `async with`: leaving it cancels everything.

    `confirms(key, facts)` says whether others, who look at `key` as often, find it as it was found by the last good probe: then
    a probe that is due is left out, but for one every `REST`. So servers that proxies look at cost the operator next to nothing.
    What they say is `confirm_seconds` old at most: a key with a shorter interval is probed all the same.
    """

    def __init__(
        self,
        on_change: Callable[[K], None],
        *,
        concurrency: int = 32,
        spread: float = 10.0,
        on_result: Callable[[K, ProbeResult], None] | None = None,
        confirms: Callable[[K, ServerFacts], bool] | None = None,
        confirm_seconds: float = 0.0,
        probe: Callable[[Target], Awaitable[ProbeResult]] = probe,
    ) -> None:
        self._on_change = on_change
        self._on_result = on_result
        self._confirms = confirms
        self._confirm_seconds = confirm_seconds
        self._probe = probe
        self._at_once = max(1, concurrency // 2)
        self._scheduler: PeriodicScheduler[K] = PeriodicScheduler(concurrency=concurrency, spread=spread)
        self._watched: dict[K, _Watched] = {}
        self._settling: set[K] = set()

    def watch(
        self,
        key: K,
        target: Target,
        interval: float,
        threshold: int,
        success_threshold: int = 1,
        *,
        latency: float | None = None,
        retry: float | None = None,
    ) -> None:
        """Probe `target` every `interval` seconds; `threshold` failures in a row make it unhealthy, `success_threshold` good
        ones healthy again. Idempotent.

        `latency`, in seconds, is what was published of a new key before this process began: it stands for `REST`. A healthy
        key whose probe fails is probed again after `retry` seconds, where that is said, and not after the interval.

        A changed target is probed at once, and a probe of the old one under way is dropped. What was known stays where only
        headers or times changed; at another endpoint nothing is known.
        """
        known = self._watched.get(key)
        if known is None:
            fresh = ServerHealth() if latency is None else known_before(latency, datetime.now(UTC))
            self._watched[key] = _Watched(target, interval, threshold, success_threshold, fresh, retry)
            self._schedule(key, interval)
            if self._scheduler.running < self._at_once:
                self._scheduler.trigger(key)
            return
        known.threshold, known.success_threshold, known.retry = threshold, success_threshold, retry
        if known.target != target:
            health = known.health if known.target.same_endpoint(target) else ServerHealth()
            self._watched[key] = _Watched(target, interval, threshold, success_threshold, health, retry)
            self._scheduler.remove(key)
            self._schedule(key, interval)
            self._scheduler.trigger(key)
        elif known.interval != interval:
            known.interval = interval
            self._schedule(key, interval)

    def forget(self, key: K) -> None:
        """Stop probing `key` and forget its state. Unknown keys are ignored."""
        self._watched.pop(key, None)
        self._settling.discard(key)
        self._scheduler.remove(key)

    def trigger(self, key: K) -> None:
        """Probe `key` now, and soon again if it does not answer. Unknown keys are ignored."""
        if (watched := self._watched.get(key)) is not None:
            watched.retries, watched.wanted = 0, True
        self._scheduler.trigger(key)

    def doubt(self, key: K) -> None:
        """Others have begun to say that they do not reach `key`: probe it now. That is told whatever is found; until then
        the state says `doubted`. Unknown keys are ignored: their first probe is still to come."""
        if (watched := self._watched.get(key)) is not None:
            watched.doubts += 1
            watched.health = replace(watched.health, doubted=True)
            self.trigger(key)

    def health(self, key: K) -> ServerHealth | None:
        """What is known of `key`; None when it is not watched."""
        watched = self._watched.get(key)
        return watched.health if watched is not None else None

    async def aclose(self) -> None:
        """Cancel every probe and wait until it has ended."""
        await self._scheduler.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _schedule(self, key: K, interval: float) -> None:
        needless = partial(self._is_confirmed, key) if interval >= self._confirm_seconds else None
        self._scheduler.set(key, interval, partial(self._run, key), needless)

    async def _run(self, key: K) -> None:
        watched = self._watched[key]
        watched.wanted, doubts = False, watched.doubts
        result = await self._probe(watched.target)
        if self._watched.get(key) is not watched:
            return
        if self._on_result is not None:
            self._on_result(key, result)
        watched.health, changed = fold(
            watched.health,
            result,
            watched.threshold,
            watched.success_threshold,
            doubted=watched.doubts != doubts,
        )
        if changed:
            self._on_change(key)
        (self._settling.add if settling(watched.health) else self._settling.discard)(key)
        if key in self._settling:
            self._again(key, watched, max(_SETTLE_SECONDS, len(self._settling) / _SETTLED_PER_SECOND))
        elif result.error and watched.health.healthy is not True and watched.retries < _RETRIES:
            watched.retries += 1
            self._again(key, watched, _RETRY.delay(watched.retries - 1))
        elif result.error and watched.health.healthy is True and watched.retry is not None:
            self._again(key, watched, watched.retry)

    def _is_confirmed(self, key: K) -> bool:
        watched = self._watched[key]
        health = watched.health
        if self._confirms is None or watched.wanted or settling(health) or not health.healthy or health.error:
            return False
        if health.facts is None or health.last_probe is None or datetime.now(UTC) - health.last_probe >= REST:
            return False
        return self._confirms(key, health.facts)

    def _again(self, key: K, watched: _Watched, seconds: float) -> None:
        if seconds < watched.interval:
            asyncio.get_running_loop().call_later(seconds, self._scheduler.trigger, key)
