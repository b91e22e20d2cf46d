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

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """How a reconcile ended well. `requeue_after`: seconds until the key wants to be looked at again without any change."""

    requeue_after: float | None = None


Reconcile = Callable[[Key], Awaitable[Result]]


async def run_workers(
    queue: WorkQueue,
    reconcile: Reconcile,
    *,
    count: int = 16,
    timeout: float = 60.0,  # noqa: ASYNC109 - a limit for each reconcile, not for this call
    expected: tuple[type[Exception], ...] = (),
    metrics: Metrics | None = None,
) -> None:
    """Run `count` workers until the queue is shut down. When cancelled, running reconciles are cancelled with it.

    An exception of a reconcile puts its key back with backoff. Those of the types `expected` are logged as one line, all others
    with a traceback; an attribute `retry_after` (seconds) on the exception sets the least delay.
    """
    run = _Worker(queue, reconcile, timeout, expected, metrics or Metrics())
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

    async def forever(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except QueueShutDown:
                return
            started = time.monotonic()
            try:
                outcome = await self._once(key)
                self.metrics.reconciled(key.kind, outcome, time.monotonic() - started)
            finally:
                self.queue.done(key)

    async def _once(self, key: Key) -> Outcome:
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
