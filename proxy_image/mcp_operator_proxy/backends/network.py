"""Connections that an `Egress` rule decides on: a name is resolved once, each address is checked, and what was checked is connected to.

Nothing resolves the name again between the check and the connection, so what DNS says a moment later (rebinding) changes nothing.
TLS and the Host header keep the URL's name.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

import httpcore2
import httpx2
from httpcore2 import AnyIOBackend, AsyncNetworkBackend, AsyncNetworkStream

from mcp_operator_proxy.egress import Egress

C = TypeVar("C")
NEXT_SECONDS: Final = 0.5
"""An address that has not accepted by then is given up where there is another one."""


class EgressDenied(OSError):
    """The rule allows no address that the name resolved to. The text names the kind of address and the setting."""


async def allowed(egress: Egress, host: str, port: int) -> list[str]:
    """The addresses of `host` that may be connected to, as the resolver orders them.

    Raises:
        EgressDenied: there are addresses, and none of them may be.
        OSError: the name does not resolve (socket.gaierror).
    """
    name = egress.looked_up(host)
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    addresses = dict.fromkeys(_text(info[4]) for info in found)
    refusals = {address: egress.refusal(name, address) for address in addresses}
    open_ = [address for address, refusal in refusals.items() if refusal is None]
    if not open_:
        raise EgressDenied(next((r for r in refusals.values() if r is not None), f"{host} resolves to no address"))
    return open_


def _text(sockaddr: tuple[Any, ...]) -> str:
    """With the scope that a link-local address needs."""
    return f"{sockaddr[0]}%{sockaddr[3]}" if len(sockaddr) == 4 and sockaddr[3] else str(sockaddr[0])


async def reach(egress: Egress | None, host: str, port: int, connect: Callable[[str], Awaitable[C]]) -> C:
    """What `connect` makes of the first address that accepts; of `host` itself where there is no rule.

    Raises what the last attempt did, or as `allowed`.
    """
    if egress is None:
        return await connect(host)
    *others, last = await allowed(egress, host, port)
    for address in others:
        with contextlib.suppress(OSError, httpcore2.ConnectError, httpcore2.ConnectTimeout):
            async with asyncio.timeout(NEXT_SECONDS):
                return await connect(address)
    return await connect(last)


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """HTTP whose every connection, those after a redirect too, is made as `egress` allows. Raises EgressDenied."""

    def __init__(
        self,
        context: ssl.SSLContext,
        egress: Egress | None,
        *,
        http2: bool = False,
        limits: httpx2.Limits = httpx2.Limits(),  # noqa: B008 - immutable
        socket_options: Iterable[Any] | None = None,
    ) -> None:
        super().__init__(verify=context, http2=http2, limits=limits, socket_options=socket_options)
        if egress is not None:
            # Private; test_egress.py hears it when that is no longer the pool that is used.
            self._pool = httpcore2.AsyncConnectionPool(
                ssl_context=context,
                max_connections=limits.max_connections,
                max_keepalive_connections=limits.max_keepalive_connections,
                keepalive_expiry=limits.keepalive_expiry,
                http2=http2,
                socket_options=socket_options,
                network_backend=_Backend(egress),
            )


def guarded_client(
    egress: Egress | None, *, context: ssl.SSLContext | None = None, timeout: float = 10.0
) -> httpx2.AsyncClient:
    """A client for what a configuration names beside servers: issuers, keys, webhooks. It follows no redirects."""
    transport = GuardedTransport(context or httpx2.create_ssl_context(), egress)
    return httpx2.AsyncClient(transport=transport, timeout=timeout, trust_env=False)


class _Backend(AsyncNetworkBackend):
    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._plain = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncNetworkStream:
        async def connect(address: str) -> AsyncNetworkStream:
            return await self._plain.connect_tcp(address, port, timeout, local_address, socket_options)

        with _as_connecting():
            async with asyncio.timeout(timeout):
                return await reach(self._egress, host, port, connect)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@contextlib.contextmanager
def _as_connecting() -> Iterator[None]:
    """The library's errors for those of the system."""
    try:
        yield
    except EgressDenied:
        raise
    except TimeoutError as error:
        raise httpcore2.ConnectTimeout(str(error)) from error
    except OSError as error:
        raise httpcore2.ConnectError(str(error)) from error
