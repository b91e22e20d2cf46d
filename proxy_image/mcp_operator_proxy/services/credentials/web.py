"""HTTP to authorization servers: no redirects, no cookies, short answers, in time."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import httpx2
from authlib.integrations.httpx_client import AsyncOAuth2Client

from mcp_operator_proxy.backends.http import ssl_context
from mcp_operator_proxy.backends.network import GuardedTransport
from mcp_operator_proxy.egress import Egress

SECONDS: Final = 10.0
"""For one request and its answer."""
MAX_ANSWER: Final = 512 * 1024


class AnswerTooLong(httpx2.HTTPError):
    """More than `MAX_ANSWER` bytes."""


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Answers of at most `MAX_ANSWER` bytes, as they come over the wire."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["accept-encoding"] = "identity"
        response = await self._inner.handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Bounded(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for chunk in self._inner:
            read += len(chunk)
            if read > MAX_ANSWER:
                raise AnswerTooLong(f"more than {MAX_ANSWER} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


@dataclass(frozen=True)
class Web:
    """`egress` decides which addresses may be connected to; None: all."""

    egress: Egress | None = None

    def client(self, ca_bundle: str | None) -> httpx2.AsyncClient:
        """For metadata and registration."""
        return httpx2.AsyncClient(transport=self._transport(ca_bundle), timeout=SECONDS, trust_env=False)

    def oauth(self, ca_bundle: str | None, **options: Any) -> AsyncOAuth2Client:
        """Authlib's client; `options` are its own."""
        return AsyncOAuth2Client(transport=self._transport(ca_bundle), timeout=SECONDS, trust_env=False, **options)

    def _transport(self, ca_bundle: str | None) -> httpx2.AsyncBaseTransport:
        return BoundedTransport(GuardedTransport(ssl_context(ca_bundle), self.egress))
