"""Results of tools that the configuration says may be answered from memory (`cacheSeconds`).

Nobody gets what another caller asked for: a key names the caller. Only whole successes are kept, no errors, no results with
`isError`, and none that ask something. The oldest results go when there are too many, or too many bytes of them, and all of
a server go when its endpoint, its credentials, its settings or its tools change.

    result = await cache.get_or_call(key, 60, lambda: call())
"""

import asyncio
import json
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, TypeAlias

from mcp_operator_proxy.auth import Principal

MAX_ENTRIES: Final = 4096
MAX_BYTES: Final = 64 * 1024 * 1024
MAX_RESULT: Final = 1024 * 1024
"""Bytes of one result as JSON; a larger one is not kept."""

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Key:
    """What makes two calls equal. `tool` is the server's own name, `arguments` their canonical JSON."""

    caller: str
    route: str
    server: str
    tool: str
    arguments: bytes


def caller_of(principal: Principal | None, session: str | None) -> str:
    """The authenticated caller; without authentication the session; without a session all are one caller."""
    if principal is not None:
        return f"principal {principal.key}"
    return f"session {session}" if session is not None else "anybody"


def key_of(caller: str, route: str, server: str, tool: str, arguments: Mapping[str, Any]) -> Key:
    return Key(caller, route, server, tool, _json(arguments))


@dataclass(frozen=True, slots=True)
class CacheReport:
    """What a cache says of itself. All but `entries` and `size` only grow."""

    entries: int
    size: int
    """Bytes of the results, as JSON."""
    hits: int
    misses: int


@dataclass(frozen=True, slots=True)
class _Kept:
    result: Json
    size: int
    until: float


class ResultCache:
    """Use it from one event loop only. `clock` counts seconds. The results that it returns are not to be changed."""

    def __init__(
        self,
        *,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
        max_result: int = MAX_RESULT,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._max_entries, self._max_bytes, self._max_result = max_entries, max_bytes, max_result
        self._clock = clock
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._size = 0
        self._asked: dict[Key, asyncio.Future[Json | None]] = {}
        self._generations: Counter[str] = Counter()
        self._hits = self._misses = 0

    async def get_or_call(self, key: Key, seconds: float, call: Callable[[], Awaitable[Json]]) -> Json:
        """The kept result, or that of `call`, which may then be kept for `seconds`. Raises what `call` raises.

        Of equal calls at once only the first is made. When its result cannot be shared (it failed, was cancelled, or
        asks something), the others are made too, each for itself.
        """
        if (found := self._get(key)) is not None:
            self._hits += 1
            return found
        if (asked := self._asked.get(key)) is not None:
            shared = await asyncio.shield(asked)
            if shared is not None:
                self._hits += 1
                return shared
            self._misses += 1
            return await call()
        self._misses += 1
        mine: asyncio.Future[Json | None] = asyncio.get_running_loop().create_future()
        self._asked[key] = mine
        generation = self._generations[key.server]
        usable: Json | None = None
        try:
            result = await call()
            if _is_usable(result) and generation == self._generations[key.server]:
                usable = result
                self._keep(key, result, seconds)
            return result
        finally:
            if self._asked.get(key) is mine:
                del self._asked[key]
            mine.set_result(usable)

    def drop(self, servers: Collection[str]) -> None:
        """Forget what came from these servers, and do not keep what they are being asked now."""
        self._generations.update(servers)
        for key in [key for key in self._kept if key.server in servers]:
            self._forget(key)
        for key in [key for key in self._asked if key.server in servers]:
            del self._asked[key]  # those who wait already get it; who comes from now on asks anew

    def report(self) -> CacheReport:
        return CacheReport(len(self._kept), self._size, self._hits, self._misses)

    def _get(self, key: Key) -> Json | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        if self._clock() >= kept.until:
            self._forget(key)
            return None
        self._kept.move_to_end(key)
        return kept.result

    def _keep(self, key: Key, result: Json, seconds: float) -> None:
        size = len(_json(result)) + len(key.arguments)
        if size > self._max_result:
            return
        if key in self._kept:
            self._forget(key)
        self._kept[key] = _Kept(result, size, self._clock() + seconds)
        self._size += size
        while len(self._kept) > self._max_entries or self._size > self._max_bytes:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: Key) -> None:
        self._size -= self._kept.pop(key).size


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _is_usable(result: Mapping[str, Any]) -> bool:
    """Whether a result may answer an equal call too."""
    return result.get("resultType", "complete") == "complete" and not result.get("isError")
