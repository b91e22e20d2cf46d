"""Kept-alive connections to one backend: the one used last is used next, so that a quiet time closes the others."""

import asyncio
import select
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final
from urllib.parse import urlsplit

import httpx2

from mcp_operator_proxy.backends.connect import Target
from mcp_operator_proxy.backends.http import KEPT_SECONDS, ssl_context
from mcp_operator_proxy.backends.network import reach
from mcp_operator_proxy.fastlane.connection import BackendConnection
from mcp_operator_proxy.tasks import spawn

PEEK_AFTER_SECONDS: Final = 0.2
"""A connection that has idled for longer is looked at before it is used: its end may wait to be read."""


@dataclass(frozen=True)
class Address:
    """Where the backend listens, and what stands in front of each request to it."""

    host: str
    port: int
    tls: bool
    authority: str
    path: str
    uds: str | None = None

    @classmethod
    def of(cls, target: Target) -> "Address":
        parts = urlsplit(target.url)
        tls = parts.scheme == "https"
        host = parts.hostname or ""
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        authority = parts.netloc.rpartition("@")[2]
        return cls(host, parts.port or (443 if tls else 80), tls, authority, path, target.uds)


@lru_cache(maxsize=256)
def _tls(ca_bundle: str | None) -> ssl.SSLContext:
    """A context of the lane's own: the full path's may have been set to offer HTTP/2."""
    context = ssl_context.__wrapped__(ca_bundle)
    context.set_alpn_protocols(["http/1.1"])
    return context


class Pool:
    """`connect_timeout` in seconds. Close it in the end: idle connections end, those in use after their exchange."""

    def __init__(self, target: Target) -> None:
        self.address = Address.of(target)
        self._ca_bundle = target.ca_bundle
        self._egress = target.egress
        self._connect_timeout = target.connect_timeout
        self._idle: deque[BackendConnection] = deque()
        self._open: set[BackendConnection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._sweep: asyncio.TimerHandle | None = None
        self.closed = False

    def __len__(self) -> int:
        return len(self._open)

    def counts(self) -> tuple[int, int]:
        """Connections with an exchange, or that are being opened; idle ones. From any thread."""
        idle = sum(not connection.closed for connection in list(self._idle))
        return max(0, len(self._open) - idle), idle

    def take(self) -> BackendConnection | None:
        """An idle connection that is open still, or None."""
        while self._idle:
            connection = self._idle.pop()
            if connection.transport.is_closing():
                continue
            age = self._loop.time() - connection.idle_since
            if age < PEEK_AFTER_SECONDS or (age < KEPT_SECONDS and not _readable(connection)):
                return connection
            connection.close()
        return None

    def connect(
        self, ready: Callable[[BackendConnection], None], failed: Callable[[Exception], None]
    ) -> "asyncio.Task[None]":
        """Open a new connection, and call `ready` with it or `failed`. Cancel the task to give up."""
        return spawn(self._connect(ready, failed), self._connecting)

    async def _connect(self, ready: Callable[[BackendConnection], None], failed: Callable[[Exception], None]) -> None:
        address = self.address
        made: list[BackendConnection] = []

        def new() -> BackendConnection:
            made.append(self._new())
            return made[0]

        try:
            async with asyncio.timeout(self._connect_timeout):
                tls = _tls(self._ca_bundle) if address.tls else None
                if address.uds is not None:
                    _, connection = await self._loop.create_unix_connection(new, address.uds)
                else:
                    connection = await reach(self._egress, address.host, address.port, partial(self._open_to, new, tls))
        except TimeoutError:
            failed(httpx2.ConnectTimeout("no connection in time"))
            return
        except (OSError, ssl.SSLError, ValueError) as error:
            failed(error)
            return
        except asyncio.CancelledError:
            for connection in made:  # it may stand already
                connection.give_up()
            raise
        if connection.closed:
            failed(ConnectionResetError("the connection ended as it began"))
            return
        ready(connection)

    async def _open_to(
        self, new: Callable[[], BackendConnection], tls: ssl.SSLContext | None, host: str
    ) -> BackendConnection:
        """A connection to `host`, the URL's or an address of it, that is shown a certificate for the URL's."""
        name = self.address.host if tls else None
        _, connection = await self._loop.create_connection(new, host, self.address.port, ssl=tls, server_hostname=name)
        return connection

    def _new(self) -> BackendConnection:
        connection = BackendConnection(self._free, self._gone)
        self._open.add(connection)
        return connection

    def _free(self, connection: BackendConnection) -> None:
        if self.closed:
            connection.close()
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(KEPT_SECONDS, self._close_idle)

    def _gone(self, connection: BackendConnection) -> None:
        self._open.discard(connection)

    def _close_idle(self) -> None:
        """Close what has idled too long; the oldest stand in front."""
        self._sweep = None
        oldest = self._loop.time() - KEPT_SECONDS
        while self._idle and (self._idle[0].closed or self._idle[0].idle_since <= oldest):
            self._idle.popleft().close()
        if self._idle:
            delay = max(0.05, self._idle[0].idle_since - oldest)
            self._sweep = self._loop.call_later(delay, self._close_idle)

    def close(self) -> None:
        self.closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        while self._idle:
            self._idle.pop().close()


def _readable(connection: BackendConnection) -> bool:
    """Whether something waits to be read: an end, as nothing else is expected."""
    sock = connection.transport.get_extra_info("socket")
    if sock is None or connection.transport.get_extra_info("ssl_object") is not None:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN | select.POLLHUP)
    return bool(poll.poll(0))
