"""Jobs that recur, one a key: probes."""

import asyncio
import logging
import math
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Generic, Self, TypeVar

from mcp_operator.engine.keys import Key
from mcp_operator.engine.subject import about

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
Job = Callable[[], Awaitable[object]]
Needless = Callable[[], bool]
"""Whether a run that is due may be left out. Asked often, so it should cost little; it must not raise."""

_PER_SECOND = 100
"""First runs of new keys, while that is within the `spread`."""
_STEP = 0.25
"""Seconds: what is due later than in some of them waits for the next whole one, so that thousands of keys wake the process
a few times a second and not each for itself."""
_STEPS = 8


@dataclass(slots=True)
class _Entry:
    interval: float
    job: Job
    needless: Needless | None = None
    timer: asyncio.TimerHandle | None = None
    started: float | None = None
    again: bool = False
    """Wanted while the key's job ran."""


class PeriodicScheduler(Generic[K]):
    """Runs each key's job every `interval` seconds, at most `concurrency` jobs at once and never one key twice at once.

    The first run comes within `spread` seconds, at random, or sooner where there are few keys (`_PER_SECOND`); every later one
    `interval` after the start of the one before, more or less by `jitter` (0 to 1). Jobs that must wait for a slot run in order;
    triggered ones go first. One that is due and `needless` is left out; a triggered one never is. A job that raises or exceeds
    `timeout` is logged and given to `on_error`, and recurs. Use as `async with`: leaving it cancels everything.
    """

    def __init__(
        self,
        *,
        concurrency: int = 32,
        spread: float = 1.0,
        jitter: float = 0.1,
        timeout: float | None = None,
        on_error: Callable[[K, Exception], None] | None = None,
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency must be at least 1")
        self._concurrency = concurrency
        self._spread = spread
        self._jitter = jitter
        self._timeout = timeout
        self._on_error = on_error
        self._entries: dict[K, _Entry] = {}
        self._ready: OrderedDict[K, None] = OrderedDict()
        self._running: dict[K, asyncio.Task[None]] = {}
        self._closed = False
        self._rng = random.Random()  # noqa: S311 - spreads load

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    @property
    def running(self) -> int:
        """Jobs that run now."""
        return len(self._running)

    def set(self, key: K, interval: float, job: Job, needless: Needless | None = None) -> None:
        """Have `job` run every `interval` seconds. For a known key: from its next run on, whose time follows the new interval."""
        if interval <= 0:
            raise ValueError(f"interval of {key} must be positive, not {interval}")
        if self._closed:
            return
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(interval, job, needless)
            soon = min(self._spread, interval, len(self._entries) / _PER_SECOND)
            self._arm(key, entry, self._rng.uniform(0, soon))
            return
        rescheduled = entry.interval != interval and entry.timer is not None and entry.started is not None
        entry.interval, entry.job, entry.needless = interval, job, needless
        if rescheduled:
            self._arm_next(key, entry)

    def remove(self, key: K) -> bool:
        """Forget `key` and cancel its run; whether it was known."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        self._ready.pop(key, None)
        if entry.timer is not None:
            entry.timer.cancel()
        if key in self._running:
            self._running[key].cancel()
        return True

    def trigger(self, key: K) -> bool:
        """Run `key` now, ahead of those that are due; once more at once if it runs already. Whether it is known."""
        entry = self._entries.get(key)
        if entry is None:
            return False
        self._due(key, entry, first=True)
        return True

    async def aclose(self) -> None:
        """Cancel everything and wait until it has ended."""
        self._closed = True
        for key in [*self._entries]:
            self.remove(key)
        while self._running:
            await asyncio.wait(self._running.values())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _arm(self, key: K, entry: _Entry, seconds: float) -> None:
        if entry.timer is not None:
            entry.timer.cancel()
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        if seconds >= _STEP * _STEPS:
            when = math.ceil(when / _STEP) * _STEP
        entry.timer = loop.call_at(when, self._due, key, entry)

    def _arm_next(self, key: K, entry: _Entry) -> None:
        """Keep to the rhythm, but leave a job that takes longer than its interval a tenth of that to rest."""
        interval = entry.interval * (1 + self._jitter * self._rng.uniform(-1, 1))
        since = asyncio.get_running_loop().time() - (entry.started or 0.0)
        self._arm(key, entry, max(interval - since, interval * 0.1))

    def _due(self, key: K, entry: _Entry, *, first: bool = False) -> None:
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None
        if key in self._running:  # also the run of a removed entry, which may take a moment to be cancelled
            entry.again = True
            return
        if not first and entry.needless is not None and entry.needless():
            entry.started = asyncio.get_running_loop().time()
            self._arm_next(key, entry)
            return
        self._ready[key] = None
        if first:
            self._ready.move_to_end(key, last=False)
        self._pump()

    def _pump(self) -> None:
        while self._ready and len(self._running) < self._concurrency:
            key, _ = self._ready.popitem(last=False)
            entry = self._entries[key]
            entry.started = asyncio.get_running_loop().time()
            task = asyncio.create_task(self._run(key, entry), name=f"periodic-{key}")
            self._running[key] = task
            task.add_done_callback(partial(self._ended, key, entry))

    async def _run(self, key: K, entry: _Entry) -> None:
        with about(key) if isinstance(key, Key) else nullcontext():
            try:
                async with asyncio.timeout(self._timeout):
                    await entry.job()
            except Exception as error:
                log.exception("periodic job %s failed", key)
                if self._on_error is not None:
                    self._on_error(key, error)

    def _ended(self, key: K, entry: _Entry, task: asyncio.Task[None]) -> None:
        del self._running[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("on_error of periodic job %s failed", key, exc_info=error)
        current = self._entries.get(key)
        if current is not None and current.again:
            current.again = False
            self._due(key, current, first=True)
        elif current is entry:
            self._arm_next(key, entry)
        self._pump()
