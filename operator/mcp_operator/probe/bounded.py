"""Bounds what one probe takes in from a server that may be hostile."""

import ssl
from collections.abc import AsyncIterator, Mapping
from functools import cache
from typing import Final

import httpx2

from mcp_operator_proxy.backends.http import BackendTransport, ssl_context
from mcp_operator_proxy.backends.network import GuardedTransport
from mcp_operator_proxy.egress import Egress

MAX_BYTES: Final = 8 * 2**20
"""Of all response bodies of one probe together."""


@cache
def unverified() -> ssl.SSLContext:
    """For pods of the operator's own, which are asked by their address and get no credential: any certificate will do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class TooLarge(httpx2.RequestError):
    """The server sent more than `MAX_BYTES`."""


class BoundedTransport(BackendTransport):
    """Ends the probe's exchanges once the server has sent too much, and its DELETE when that takes too long."""

    def __init__(
        self,
        headers: Mapping[str, str],
        ca_bundle: str | None,
        *,
        close_seconds: float,
        verify: bool = True,
        egress: Egress | None = None,
    ) -> None:
        super().__init__(headers, ca_bundle, egress=egress)
        context = ssl_context(ca_bundle) if verify else unverified()
        self._bounded = _BoundedHTTP(context, egress, close_seconds)
        self._inner = self._bounded

    @property
    def exceeded(self) -> bool:
        return self._bounded.left < 0


class _BoundedHTTP(GuardedTransport):
    def __init__(self, context: ssl.SSLContext, egress: Egress | None, close_seconds: float) -> None:
        super().__init__(context, egress, limits=httpx2.Limits(max_keepalive_connections=2))
        self._close_seconds = close_seconds
        self.left = MAX_BYTES

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # A compressed answer could grow without bound when it is unpacked.
        request.headers["accept-encoding"] = "identity"
        if request.method == "DELETE":
            request.extensions["timeout"] = httpx2.Timeout(self._close_seconds).as_dict()
        response = await super().handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.DecodingError("the answer is compressed although only identity is accepted", request=request)
        response.stream = _Counted(response.stream, self)
        return response


class _Counted(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.SyncByteStream | httpx2.AsyncByteStream, budget: _BoundedHTTP) -> None:
        assert isinstance(inner, httpx2.AsyncByteStream)
        self._inner = inner
        self._budget = budget

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            self._budget.left -= len(chunk)
            if self._budget.left < 0:
                raise TooLarge("the server sent too much")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
