"""A second opinion on every watch stream: has the API server changes that the stream did not bring?

Now and then each stream's position is compared with a short watch of one's own from that very position. What that brings, the
stream owes (`engine.streams`). Neither silence nor age says that a stream is stuck: a quiet cluster is silent too.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mcp_operator.engine.streams import Stream, Streams

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Later:
    """What happened after a version. `expired`: the API server does not remember that far."""

    changed: str | None = None
    """Version of the newest change of an object that is still there."""
    deleted: bool = False
    """An object is gone."""
    as_of: str | None = None
    """The version up to which this is all (of a bookmark)."""
    expired: bool = False


Peek = Callable[[Stream, str], Awaitable[Later]]
"""What the API server has of a stream after a version. Raises when it cannot be asked."""
Relist = Callable[[str], Awaitable[str]]
"""LISTs a kind and hands on the differences; the version of that LIST. Raises when it cannot."""


class Audit:
    """Looks at each stream every `interval` seconds, and at one that owes something six times within `patience`.

    A deletion is no debt: a watch that began anew never tells of it. The kind is listed instead.
    """

    def __init__(
        self,
        streams: Streams,
        peek: Peek,
        relist: Relist,
        *,
        interval: float = 60.0,
        patience: float = 120.0,
        concurrency: int = 8,
    ) -> None:
        self._streams = streams
        self._peek = peek
        self._relist = relist
        self._interval = min(interval, patience)
        self._patience = patience
        self._slots = asyncio.Semaphore(concurrency)
        self._rng = random.Random()  # noqa: S311 - spreads load

    @property
    def problem(self) -> str | None:
        """Which streams are stuck, in words; None while all is well."""
        stuck = self._streams.stuck(self._patience)
        if not stuck:
            return None
        return f"the watch of {', '.join(map(str, stuck))} does not bring what the API server has"

    async def run(self) -> None:
        """Look, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for stream in self._streams:
                group.create_task(self._keep(stream), name=f"audit-{stream.kind}")

    async def look(self, stream: Stream) -> None:
        """Compare one stream with the API server now. Never raises for what the API server answers or does not."""
        since = self._streams.position(stream)
        if since is None:
            return
        try:
            async with self._slots:
                await self._compare(stream, await self._peek(stream, since))
        except Exception as error:  # noqa: BLE001 - whatever it is, it says nothing of the stream
            self._streams.excused(stream)
            log.debug("the watch of %s could not be checked: %s: %s", stream, type(error).__name__, error)

    async def _compare(self, stream: Stream, later: Later) -> None:
        if later.changed is not None:
            self._streams.owes(stream, later.changed)
        elif not later.expired:
            self._streams.confirmed(stream, later.as_of)
        if later.deleted or later.expired:
            listed = await self._relist(stream.kind)
            if later.changed is None and self._streams.debt(stream) is None:
                self._streams.confirmed(stream, listed)

    async def _keep(self, stream: Stream) -> None:
        await asyncio.sleep(self._interval * self._rng.uniform(0.1, 1))
        warned = False
        while True:
            await self.look(stream)
            debt = self._streams.debt(stream)
            if debt is None:
                warned = False
            elif debt >= self._patience and not warned:
                warned = True
                log.error("the watch of %s is stuck: it owes a change for %.0f s", stream, debt)
            await asyncio.sleep(self._interval * self._rng.uniform(0.9, 1.1) if debt is None else self._patience / 6)
