"""LIST and compare: the has-synced gate before the workers start, and the cure for what a watch stream loses.

A deletion during a relist is never told by a watch; a periodic LIST finds it. Differences are given to the same function as the
changes that watch events bring.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mcp_operator.engine.backoff import Backoff
from mcp_operator.engine.metrics import Metrics
from mcp_operator.engine.store import Change, Changes, Store

log = logging.getLogger(__name__)


class Listed(NamedTuple):
    """The objects of a kind (of one namespace), and the resourceVersion at which that is all of them."""

    items: Iterable[Mapping[str, Any]]
    resource_version: str
    namespace: str | None = None


Lister = Callable[[], Awaitable[Sequence[Listed]]]
"""LISTs one kind. Of namespaces that the answer leaves out nothing is known, so what was known of them stays."""


class Resync:
    """Keeps a store true to what LIST says. `on_change(change)` gets each difference.

    `listers` by kind. At most `concurrency` LISTs run at once; one that fails is tried again with `backoff` (and not before
    an attribute `retry_after`, in seconds, of the error), for ever, and the other kinds go on meanwhile.
    """

    def __init__(
        self,
        store: Store,
        listers: Mapping[str, Lister],
        on_change: Callable[[Change], None],
        *,
        interval: float = 600.0,
        jitter: float = 0.1,
        backoff: Backoff | None = None,
        concurrency: int = 4,
        metrics: Metrics | None = None,
    ) -> None:
        self._store = store
        self._listers = dict(listers)
        self._on_change = on_change
        self._interval = interval
        self._jitter = jitter
        self._backoff = backoff or Backoff(base=0.5, cap=60.0)
        self._slots = asyncio.Semaphore(concurrency)
        self._metrics = metrics or Metrics()
        self._rng = random.Random()  # noqa: S311 - spreads load
        self._unsynced = set(self._listers)
        self.synced = asyncio.Event()
        """Set when every kind was listed once."""
        if not self._listers:
            self.synced.set()

    @property
    def unsynced(self) -> frozenset[str]:
        """The kinds that no LIST has told of yet."""
        return frozenset(self._unsynced)

    async def run(self) -> None:
        """List every kind at once, then each again every `interval` seconds, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for kind in self._listers:
                group.create_task(self._keep(kind), name=f"resync-{kind}")

    async def once(self, kind: str) -> int:
        """List one kind now and hand on the differences; how many. What the LIST raises goes through."""
        started = time.monotonic()
        async with self._slots:
            parts = await self._listers[kind]()
        changes = [change for part in parts for change in self._take(kind, part)]
        for change in changes:
            try:
                self._on_change(change)
            except Exception:
                log.exception("a change of %s was not handled", change.key)
        self._metrics.resynced(kind, len(changes), time.monotonic() - started)
        if kind in self._unsynced:
            self._unsynced.remove(kind)
            if not self._unsynced:
                self.synced.set()
        return len(changes)

    def _take(self, kind: str, part: Listed) -> Changes:
        items, as_of, namespace = part
        return self._store.replace(kind, items, resource_version=as_of, namespace=namespace)

    async def _keep(self, kind: str) -> None:
        while True:
            await self._until_listed(kind)
            await asyncio.sleep(self._interval * (1 + self._jitter * self._rng.uniform(-1, 1)))

    async def _until_listed(self, kind: str) -> None:
        failures = 0
        while True:
            first = kind in self._unsynced
            try:
                differences = await self.once(kind)
            except Exception as error:  # noqa: BLE001 - whatever a LIST raises, the next may succeed
                self._metrics.resync_failed(kind)
                delay = max(self._backoff.delay(failures), getattr(error, "retry_after", None) or 0.0)
                failures += 1
                log.warning("cannot list %s, next try in %.1f s: %s: %s", kind, delay, type(error).__name__, error)
                await asyncio.sleep(delay)
            else:
                if differences and not first:
                    log.info("resync of %s found %d differences that no watch event had told", kind, differences)
                return
