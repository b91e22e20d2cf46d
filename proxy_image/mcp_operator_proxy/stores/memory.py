"""Short-lived values in this process: for one replica with one worker."""

import asyncio
import contextlib
import heapq
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

QUEUED: Final = 1000
"""Messages that wait for one slow subscriber; beyond, it hears of a gap instead."""


class MemoryStore:
    """A `KeyValue`. What has expired is removed as later writes come. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._values: dict[str, tuple[bytes, float | None]] = {}
        self._expiries: list[tuple[float, str]] = []
        self._locks: dict[str, tuple[object, float]] = {}
        self._subscribers: dict[str, set[asyncio.Queue[bytes | None]]] = {}

    def __len__(self) -> int:
        return len(self._values)

    async def get(self, key: str) -> bytes | None:
        return self._live(key)

    async def get_many(self, keys: list[str]) -> list[bytes | None]:
        return [self._live(key) for key in keys]

    async def put(self, key: str, value: bytes, seconds: float | None = None) -> None:
        self._sweep()
        expires = None if seconds is None else self._clock() + seconds
        self._values[key] = value, expires
        if expires is not None:
            heapq.heappush(self._expiries, (expires, key))

    async def add(self, key: str, value: bytes, seconds: float | None = None) -> bool:
        if self._live(key) is not None:
            return False
        await self.put(key, value, seconds)
        return True

    async def replace(self, key: str, old: bytes, new: bytes, seconds: float | None = None) -> bool:
        if self._live(key) != old:
            return False
        await self.put(key, new, seconds)
        return True

    async def touch(self, key: str, seconds: float) -> bool:
        value = self._live(key)
        if value is None:
            return False
        await self.put(key, value, seconds)
        return True

    async def delete(self, *keys: str) -> int:
        found = [key for key in dict.fromkeys(keys) if self._live(key) is not None]
        for key in found:
            del self._values[key]
        return len(found)

    async def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in list(self._values) if key.startswith(prefix) and self._live(key) is not None)

    @contextlib.asynccontextmanager
    async def lock(self, name: str, seconds: float) -> AsyncIterator[bool]:
        held = self._locks.get(name)
        if held is not None and self._clock() < held[1]:
            yield False
            return
        token = object()
        self._locks[name] = token, self._clock() + seconds
        try:
            yield True
        finally:
            if self._locks.get(name, (None, 0.0))[0] is token:
                del self._locks[name]

    async def publish(self, channel: str, message: bytes) -> None:
        for queue in self._subscribers.get(channel, ()):
            if queue.qsize() >= QUEUED:
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(None)
            queue.put_nowait(message)

    async def subscribe(self, channel: str) -> AsyncIterator[bytes | None]:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        queue.put_nowait(None)
        self._subscribers.setdefault(channel, set()).add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            others = self._subscribers[channel]
            others.discard(queue)
            if not others:
                del self._subscribers[channel]

    async def ping(self) -> None: ...

    async def close(self) -> None: ...

    def _live(self, key: str) -> bytes | None:
        value, expires = self._values.get(key, (None, None))
        if expires is not None and expires <= self._clock():
            del self._values[key]
            return None
        return value

    def _sweep(self) -> None:
        """Remove what has expired. A value that was put again or touched has a later entry in the heap."""
        now = self._clock()
        while self._expiries and self._expiries[0][0] <= now:
            _, key = heapq.heappop(self._expiries)
            if key in self._values:
                self._live(key)
