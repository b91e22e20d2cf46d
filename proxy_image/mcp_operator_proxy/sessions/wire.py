"""HTTP/1.1 to one peer over kept connections, its answers taken as they come."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from mcp_operator_proxy.backends.connect import Target
from mcp_operator_proxy.fastlane.connection import BackendConnection
from mcp_operator_proxy.fastlane.pool import Pool

HIGH_WATER: Final = 256 * 1024
"""Bytes that wait for a slow client before the peer is left waiting."""


class Unreachable(Exception):
    """No connection: nothing has been sent."""


class Silent(Unreachable):
    """No connection in time: not even a refusal."""


class Lost(Exception):
    """The request was sent, and the connection ended before the answer did."""


class Answer:
    """Status and headers, then the body by `chunks`. `abort` an answer that is not read to its end."""

    def __init__(self, connection: BackendConnection) -> None:
        self.head: asyncio.Future[tuple[int, dict[bytes, bytes]]] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._paused = False
        self._ended = False
        self._broken = False
        self._wake = asyncio.Event()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Raises Lost."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._size -= len(chunk)
                if self._paused and self._size < HIGH_WATER // 2:
                    self._resume()
                yield chunk
            if self._broken:
                raise Lost
            if self._ended:
                return
            self._wake.clear()
            await self._wake.wait()

    def abort(self) -> None:
        if not self._ended:
            self._ended = True
            self._connection.abort()

    def _resume(self) -> None:
        self._paused = False
        if not self._ended and not self._connection.closed:
            self._connection.transport.resume_reading()

    # The connection's side

    def headed(self, status: int, headers: dict[bytes, bytes]) -> None:
        if not self.head.done():
            self.head.set_result((status, headers))

    def received(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > HIGH_WATER and not self._paused:
            self._paused = True
            self._connection.transport.pause_reading()
        self._wake.set()

    def ended(self) -> None:
        self._resume()  # the connection goes on to the next request
        self._ended = True
        self._wake.set()

    def lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._ended = self._broken = True
        if not self.head.done():
            self.head.set_exception(Lost())
        self._wake.set()


class Wire:
    """`close` it in the end."""

    def __init__(self, address: str, connect_timeout: float) -> None:
        self._pool = Pool(Target(url=f"http://{address}/", connect_timeout=connect_timeout))

    def close(self) -> None:
        self._pool.close()

    async def send(self, request: bytes) -> Answer:
        """An answer whose `head` is there. Raises Unreachable, Lost."""
        connection = self._pool.take() or await self._connect()
        answer = Answer(connection)
        connection.send(answer, request)
        try:
            await answer.head
        except asyncio.CancelledError:
            answer.abort()
            raise
        return answer

    async def _connect(self) -> BackendConnection:
        made: asyncio.Future[BackendConnection] = asyncio.get_running_loop().create_future()

        def failed(error: Exception) -> None:
            if not made.done():
                made.set_exception(Silent() if "imeout" in type(error).__name__ else Unreachable())

        def ready(connection: BackendConnection) -> None:
            if made.done():
                connection.close()
            else:
                made.set_result(connection)

        connecting = self._pool.connect(ready, failed)
        try:
            return await made
        except asyncio.CancelledError:
            connecting.cancel()
            raise
