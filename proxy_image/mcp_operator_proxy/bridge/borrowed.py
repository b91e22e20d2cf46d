"""Isolation `session` in the 2026-07-28 era, which has no sessions: who has which process.

A client that gives a key has the process of that key, until it leaves. One without a key has a process to itself for as
long as one request takes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from weakref import WeakValueDictionary

from mcp_operator_proxy.bridge.call import Call
from mcp_operator_proxy.bridge.connection import Connection


class Borrowed:
    """`begin` starts a process and opens it; `close` ends one, in the background."""

    def __init__(self, begin: Callable[[], Awaitable[Connection]], close: Callable[[Connection], object]) -> None:
        self._begin = begin
        self._close = close
        self._of: dict[str, Connection] = {}
        self._starting: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._free: list[Connection] = []

    async def lend(self, call: Call, key: str | None) -> Connection:
        """The process for a call. Raises what `begin` raises."""
        if key is not None:
            lock = self._starting.setdefault(key, asyncio.Lock())
            async with lock:
                if (connection := self._of.get(key)) is None or not connection.alive:
                    connection = self._of[key] = await self._begin()
            return connection
        while self._free:
            if (connection := self._free.pop()).alive:
                break
        else:
            connection = await self._begin()
        call.on_end = partial(self._take_back, call, connection)
        return connection

    def leave(self, key: str) -> None:
        """A client has gone, and needs its process no more."""
        if (connection := self._of.pop(key, None)) is not None:
            self._close(connection)

    def idle(self) -> dict[Connection, float]:
        """Seconds since its last call, of each process that has nothing to do."""
        return {c: c.idle_seconds() for c in (*self._of.values(), *self._free) if not c.in_flight}

    def end(self, connection: Connection) -> None:
        """End one of them; who calls next with its key gets another."""
        self._of = {key: held for key, held in self._of.items() if held is not connection}
        self._free = [held for held in self._free if held is not connection]
        self._close(connection)

    def end_all(self) -> None:
        for connection in {*self._of.values(), *self._free}:
            self.end(connection)

    def _take_back(self, call: Call, connection: Connection) -> None:
        """One whose answer nobody waited for may work on it still, so nobody else is given it."""
        if connection.alive and call.outcome != "abandoned" and not connection.in_flight:
            self._free.append(connection)
        else:
            self._close(connection)
