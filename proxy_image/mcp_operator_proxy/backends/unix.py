"""HTTP over a unix socket on asyncio's own streams.

anyio's stream for unix sockets logs an `InvalidStateError` with a traceback whenever a read is cancelled in the moment in
which data arrives (anyio 4), which is at the end of each session: the server ends the standing stream as the client drops it.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import httpcore2
import httpx2
from httpcore2 import AsyncNetworkBackend, AsyncNetworkStream


class UnixTransport(httpx2.AsyncHTTPTransport):
    """HTTP/1.1 to whoever listens at `path`, whatever the URL's host."""

    def __init__(self, path: str, limits: httpx2.Limits) -> None:
        super().__init__(verify=False, uds=path, limits=limits)
        # Private; test_stdio_backends.py hears it when that is no longer the pool that is used.
        self._pool = httpcore2.AsyncConnectionPool(
            uds=path,
            network_backend=_Backend(),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
        )


class _Backend(AsyncNetworkBackend):
    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> AsyncNetworkStream:
        with _as(httpcore2.ConnectTimeout, httpcore2.ConnectError):
            async with asyncio.timeout(timeout):
                return _Stream(*await asyncio.open_unix_connection(path))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Stream(AsyncNetworkStream):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        with _as(httpcore2.ReadTimeout, httpcore2.ReadError):
            async with asyncio.timeout(timeout):
                return await self._reader.read(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        with _as(httpcore2.WriteTimeout, httpcore2.WriteError):
            async with asyncio.timeout(timeout):
                self._writer.write(buffer)
                await self._writer.drain()

    async def aclose(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # asked of an idle connection: has the server closed it?
            return self._reader.at_eof()
        return self._writer.get_extra_info("socket") if info == "socket" else None


@contextlib.contextmanager
def _as(timeout: type[Exception], failure: type[Exception]) -> Iterator[None]:
    """The library's errors for those of the system."""
    try:
        yield
    except TimeoutError as error:
        raise timeout(str(error)) from error
    except OSError as error:
        raise failure(str(error)) from error
