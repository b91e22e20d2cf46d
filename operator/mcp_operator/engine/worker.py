"""The workers: get a key, reconcile it, give it back.

The contract of a reconciler: it is called with the name of an object and not with what happened to it; it makes the world as the
object wants it, whatever state it finds; it may be called at any time and any number of times, never twice at once for one key.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mcp_operator.engine.keys import Key
from mcp_operator.engine.metrics import Metrics, Outcome
from mcp_operator.engine.queue import QueueShutDown, WorkQueue
from mcp_operator.engine.subject import about

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """How a reconcile ended well. `requeue_after`: seconds until the key wants to be looked at again without any change."""

    requeue_after: float | None = None


Reconcile = Callable[[Key], Awaitable[Result]]


class Running:
    """Since when each worker is at its key: one that does not come back in spite of its time limit is stuck."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[Key, float] = {}

    def began(self, key: Key) -> None:
        self._since[key] = self._clock()

    def ended(self, key: Key) -> float:
        """Seconds that it took."""
        return self._clock() - self._since.pop(key)

    def longest(self) -> tuple[Key, float] | None:
        """The key that a worker has had for the longest time, and the seconds."""
        if not self._since:
            return None
        key = min(self._since, key=self._since.__getitem__)
        return key, self._clock() - self._since[key]


async def run_workers(
    queue: WorkQueue,
    reconcile: Reconcile,
    *,
    count: int = 16,
    timeout: float = 60.0,  # noqa: ASYNC109 - a limit for each reconcile, not for this call
    expected: tuple[type[Exception], ...] = (),
    metrics: Metrics | None = None,
    running: Running | None = None,
) -> None:
    """Run `count` workers until the queue is shut down. When cancelled, running reconciles are cancelled with it.

    An exception of a reconcile puts its key back with backoff. Those of the types `expected` are logged as one line, all others
    with a traceback; an attribute `retry_after` (seconds) on the exception sets the least delay.
    """
    run = _Worker(queue, reconcile, timeout, expected, metrics or Metrics(), running or Running())
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(run.forever(), name=f"worker-{number}")


@dataclass(frozen=True, slots=True)
class _Worker:
    queue: WorkQueue
    reconcile: Reconcile
    timeout: float
    expected: tuple[type[Exception], ...]
    metrics: Metrics
    running: Running

    async def forever(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except QueueShutDown:
                return
            self.running.began(key)
            try:
                with about(key):
                    outcome = await self._once(key)
            finally:
                seconds = self.running.ended(key)
                self.queue.done(key)
            self.metrics.reconciled(key.kind, outcome, seconds)

    async def _once(self, key: Key) -> Outcome:
        started = time.monotonic()
        outcome = await self._outcome(key)
        log.debug("reconciled %s", key, extra={"result": outcome, "seconds": round(time.monotonic() - started, 4)})
        return outcome

    async def _outcome(self, key: Key) -> Outcome:
        limit = asyncio.timeout(self.timeout)
        try:
            async with limit:
                result = await self.reconcile(key)
        except Exception as error:  # noqa: BLE001 - one key's failure must not end the worker
            if isinstance(error, TimeoutError) and limit.expired():
                log.error("reconcile %s: not finished after %g s", key, self.timeout)  # noqa: TRY400 - no traceback helps
                self.queue.add_rate_limited(key)
                return "timeout"
            self._report(key, error)
            retry_after = getattr(error, "retry_after", None)
            self.queue.add_rate_limited(key, at_least=retry_after or 0.0)
            return "error"
        self.queue.forget(key)
        if result.requeue_after is None:
            return "success"
        self.queue.add_after(key, result.requeue_after)
        return "requeue_after"

    def _report(self, key: Key, error: Exception) -> None:
        attempt = self.queue.failures(key) + 1
        if isinstance(error, self.expected):
            log.warning("reconcile %s: %s (attempt %d)", key, error, attempt)
        else:
            log.error("reconcile %s failed (attempt %d)", key, attempt, exc_info=error)
