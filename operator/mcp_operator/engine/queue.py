"""The work queue, with the semantics of client-go's `util/workqueue`.

- A key waits at most once: adding it again while it waits changes nothing (*dirty set*).
- A key is never handed out twice at once: added while a worker has it, it waits until `done` (*busy set*).
- A key added after `get` and before `done` is handed out again: no change is ever lost.
- One timer a key; the earlier deadline wins. Failures back off exponentially, per key, until `forget`.

Beyond client-go there are two lines: what a user changed goes before what a resync or a start-up found (`background`),
so one `kubectl apply` is not behind thousands of keys; every eighth key comes from the background all the same.
"""

import asyncio
import time
from collections import OrderedDict, deque

from mcp_operator.engine.backoff import Backoff
from mcp_operator.engine.keys import Key
from mcp_operator.engine.metrics import Metrics

_BACKGROUND_SHARE = 8


class QueueShutDown(Exception):
    """`get` has nothing more to give, ever."""


class WorkQueue:
    """Deduplicating queue of keys. Lives in one event loop."""

    def __init__(self, *, backoff: Backoff | None = None, metrics: Metrics | None = None) -> None:
        self._backoff = backoff or Backoff()
        self._metrics = metrics or Metrics()
        self._front: OrderedDict[Key, float] = OrderedDict()
        self._background: OrderedDict[Key, float] = OrderedDict()
        self._busy: set[Key] = set()
        self._again: dict[Key, bool] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._getters: deque[asyncio.Future[None]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._handed_out = 0
        self._closed = False

    def __len__(self) -> int:
        """Keys that wait for a worker now (neither those with a timer nor those a worker has)."""
        return len(self._front) + len(self._background)

    @property
    def busy(self) -> int:
        """Keys handed out and not yet done."""
        return len(self._busy)

    @property
    def scheduled(self) -> int:
        """Keys with a running timer."""
        return len(self._timers)

    def failures(self, key: Key) -> int:
        """How often `key` was added with backoff since it was last forgotten."""
        return self._failures.get(key, 0)

    def add(self, key: Key, *, background: bool = False) -> None:
        """Put `key` in line, unless it is there. Added in front, a key that waits in the background moves up."""
        if self._closed:
            return
        if key in self._busy:
            self._again[key] = background and self._again.get(key, True)
            return
        self._put(key, background=background)

    def add_after(self, key: Key, seconds: float, *, background: bool = False) -> None:
        """Add `key` in `seconds`. Where a timer runs for it, the earlier deadline wins."""
        if self._closed:
            return
        if seconds <= 0:
            self.add(key, background=background)
            return
        loop = asyncio.get_running_loop()
        running = self._timers.get(key)
        if running is not None:
            if running.when() <= loop.time() + seconds:
                return
            running.cancel()
        self._timers[key] = loop.call_later(seconds, self._fire, key, background)

    def add_rate_limited(self, key: Key, *, at_least: float = 0.0) -> None:
        """Add `key` when its backoff allows, and not before `at_least` seconds. Each call doubles the next delay."""
        if self._closed:
            return
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._metrics.retried(key.kind)
        self.add_after(key, max(at_least, self._backoff.delay(failures)))

    def forget(self, key: Key) -> None:
        """Start the backoff of `key` anew. Call it on success."""
        self._failures.pop(key, None)

    async def get(self) -> Key:
        """The next key; the caller owns it until `done`. `QueueShutDown` when the queue has ended."""
        while not len(self):
            if self._closed and not self._again:
                raise QueueShutDown
            await self._wait()
        return self._take()

    def done(self, key: Key) -> None:
        """Give `key` back. If it was added meanwhile, it is in line again. `ValueError` if no worker has it."""
        if key not in self._busy:
            raise ValueError(f"{key} is not being worked on")
        self._busy.remove(key)
        self._metrics.busy(len(self._busy))
        again = self._again.pop(key, None)
        if again is not None:
            self._put(key, background=again)
        self._note_idle()

    def shut_down(self, *, drain: bool) -> None:
        """End: later adds are ignored, timers stop. With `drain` what waits is still handed out; without, it is dropped."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if not drain:
            self._front.clear()
            self._background.clear()
            self._again.clear()
            self._metrics.depth(0)
        self._note_idle()

    async def join(self) -> None:
        """Wait until no key waits and none is being worked on (keys with a timer do not count)."""
        await self._idle.wait()

    def _put(self, key: Key, *, background: bool) -> None:
        if key in self._front:
            return
        now = time.monotonic()
        if key in self._background:
            if background:
                return
            now = self._background.pop(key)
        else:
            self._metrics.added(key.kind)
        (self._background if background else self._front)[key] = now
        self._idle.clear()
        self._metrics.depth(len(self))
        self._wake()

    def _take(self) -> Key:
        self._handed_out += 1
        turn = self._handed_out % _BACKGROUND_SHARE == 0
        line = self._background if self._background and (turn or not self._front) else self._front
        key, since = line.popitem(last=False)
        self._busy.add(key)
        self._metrics.depth(len(self))
        self._metrics.busy(len(self._busy))
        self._metrics.waited(key.kind, time.monotonic() - since)
        return key

    def _fire(self, key: Key, background: bool) -> None:
        del self._timers[key]
        self.add(key, background=background)

    async def _wait(self) -> None:
        """Wait to be woken. A waiter that is cancelled after it was woken passes the call on."""
        getter = asyncio.get_running_loop().create_future()
        self._getters.append(getter)
        try:
            await getter
        except asyncio.CancelledError:
            getter.cancel()
            if getter in self._getters:
                self._getters.remove(getter)
            elif len(self):
                self._wake()
            raise

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _note_idle(self) -> None:
        if not len(self) and not self._busy:
            self._idle.set()
        if self._closed and not len(self) and not self._again:
            for getter in self._getters:
                if not getter.done():
                    getter.set_result(None)
            self._getters.clear()
