"""Several small connection pools in the place of a large one.

The pool under httpx2 looks at all of its connections for each request, and for each idle one at all of them again: with
64 calls at once that is a third of a call's cost. So a pool takes `BUSY` exchanges at once, and then the next one is used.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import httpx2

from mcp_operator_proxy.tasks import spawn

BUSY: Final = 8


class _Pool:
    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        self.transport = transport
        self.busy = 0
        self.ending: asyncio.TimerHandle | None = None


class Pools(httpx2.AsyncBaseTransport):
    """`new_pool` makes one. A pool that has been idle for `kept_seconds` is closed, but for the first."""

    def __init__(
        self, new_pool: Callable[[], httpx2.AsyncBaseTransport], *, kept_seconds: float, busy: int = BUSY
    ) -> None:
        self._new_pool = new_pool
        self._kept_seconds = kept_seconds
        self._busy = busy
        self._pools = [_Pool(new_pool())]
        self._closing: set[asyncio.Task[None]] = set()

    def counts(self) -> tuple[int, int]:
        """Of the connections of all pools: those in use, idle ones. From any thread."""
        # Private; test_connections.py hears it when the library keeps its connections elsewhere.
        inner = [getattr(pool.transport, "_pool", None) for pool in list(self._pools)]
        idle = [connection.is_idle() for pool in inner if pool is not None for connection in pool.connections]
        return idle.count(False), idle.count(True)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        pool = self._enter()
        try:
            response = await pool.transport.handle_async_request(request)
        except BaseException:
            self._leave(pool)
            raise
        response.stream = _Exchange(response.stream, lambda: self._leave(pool))
        return response

    def _enter(self) -> _Pool:
        pool = next((pool for pool in self._pools if pool.busy < self._busy), None)
        if pool is None:
            pool = _Pool(self._new_pool())
            self._pools.append(pool)
        if pool.ending is not None:
            pool.ending.cancel()
            pool.ending = None
        pool.busy += 1
        return pool

    def _leave(self, pool: _Pool) -> None:
        pool.busy -= 1
        if not pool.busy and pool is not self._pools[0]:
            pool.ending = asyncio.get_running_loop().call_later(self._kept_seconds, self._end, pool)

    def _end(self, pool: _Pool) -> None:
        self._pools.remove(pool)
        spawn(pool.transport.aclose(), self._closing)

    async def aclose(self) -> None:
        for pool in self._pools:
            if pool.ending is not None:
                pool.ending.cancel()
            await pool.transport.aclose()
        if self._closing:
            await asyncio.wait(self._closing)


class _Exchange(httpx2.AsyncByteStream):
    """A response's stream that tells once when it has been closed."""

    def __init__(self, inner: httpx2.SyncByteStream | httpx2.AsyncByteStream, ended: Callable[[], None]) -> None:
        assert isinstance(inner, httpx2.AsyncByteStream)
        self._inner = inner
        self._ended: Callable[[], None] | None = ended

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            yield chunk

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            if (ended := self._ended) is not None:
                self._ended = None
                ended()
