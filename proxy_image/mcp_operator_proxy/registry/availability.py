"""Which servers answer, as all replicas see it: of what they say of a server, the change that was seen last holds.

So replicas show the same, although each looks at the servers for itself. Without a shared store each goes by its own look.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from mcp_operator_proxy.stores.keyvalue import KeyValue, StoreUnavailable
from mcp_operator_proxy.tasks import cancel

logger = logging.getLogger(__name__)

EVERY_SECONDS: Final = 2.0
KEEP_SECONDS: Final = 60.0
"""What a replica has said and does not repeat is forgotten: it may have gone."""
REPEAT_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Seen:
    """Whether a server answers, and since when that is so: seconds since the epoch, by the clock of the replica `by`."""

    up: bool
    since: float
    by: str = ""

    def encode(self) -> bytes:
        return json.dumps([self.up, self.since, self.by]).encode()


def read(value: bytes | None, now: float) -> Seen | None:
    """What another replica wrote; None for what is nothing, or of a clock that is far ahead."""
    try:
        up, since, by = json.loads(value or b"")
    except (ValueError, TypeError):
        return None
    sound = isinstance(up, bool) and isinstance(since, int | float) and isinstance(by, str)
    return Seen(up, since, by) if sound and since <= now + KEEP_SECONDS else None


def newest(mine: Seen | None, theirs: Seen | None) -> Seen | None:
    """The change that was seen last. Pure."""
    if mine is None or theirs is None:
        return mine or theirs
    return theirs if theirs.since > mine.since else mine


class Availability:
    """`look` gives what this process sees now, by server id: those that have not been looked at are left out.

    `store` is None where nothing is shared. `start` and `close` it.
    """

    def __init__(self, me: str, look: Callable[[], Mapping[str, bool]], store: Callable[[], KeyValue | None]) -> None:
        self._me = me
        self._look = look
        self._store = store
        self._mine: dict[str, Seen] = {}
        self._theirs: dict[str, Seen] = {}
        self._said: dict[str, tuple[Seen, float]] = {}
        self._away = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """From now on, tell others and hear them."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            await cancel([self._task])

    def up(self) -> Mapping[str, bool]:
        """What holds now, by server id."""
        self._observe()
        held = {server: newest(mine, self._theirs.get(server)) for server, mine in self._mine.items()}
        return {server: seen.up for server, seen in held.items() if seen is not None}

    def _observe(self) -> None:
        now, seen = time.time(), self._look()
        self._mine = {
            server: known
            if (known := self._mine.get(server)) is not None and known.up == up
            else Seen(up, now, self._me)
            for server, up in seen.items()
        }

    async def _run(self) -> None:
        while True:
            store = self._store()
            if store is None:
                self._theirs = {}
            else:
                try:
                    await self._exchange(store)
                    self._away = False
                except StoreUnavailable as error:
                    self._theirs = {}
                    if not self._away:
                        logger.warning("what other replicas see is not known for now", extra={"error": str(error)})
                    self._away = True
            await asyncio.sleep(EVERY_SECONDS)

    async def _exchange(self, store: KeyValue) -> None:
        self._observe()
        mine = dict(self._mine)
        values = await store.get_many([_key(server) for server in mine])
        now = time.time()
        theirs = {}
        for (server, seen), value in zip(mine.items(), values, strict=True):
            there = read(value, now)
            if there is not None and there.by != self._me:
                theirs[server] = there
            if newest(seen, there) is seen and self._worth_saying(server, seen, there):
                await store.put(_key(server), seen.encode(), KEEP_SECONDS)
                self._said[server] = seen, time.monotonic()
        self._theirs = theirs

    def _worth_saying(self, server: str, seen: Seen, there: Seen | None) -> bool:
        if there != seen:
            return True
        said = self._said.get(server)
        return said is None or time.monotonic() - said[1] >= REPEAT_SECONDS


def _key(server: str) -> str:
    return f"registry:server:{server}"
