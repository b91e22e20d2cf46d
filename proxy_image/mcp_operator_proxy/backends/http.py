"""HTTP to one backend: a shared connection pool and TLS context, headers that live in one place, failures kept exact.

The MCP client's streamable-HTTP transport turns one failed POST into the end of the whole session, and every HTTP
error into one of two sentences. `BackendTransport` stands beneath it: a POST that fails is answered with a JSON-RPC
error for just that request, and what truly happened is noted on the `Attempt` that the caller put into its context.
"""

import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Final

import httpx2
from mcp_types import INTERNAL_ERROR

from mcp_operator_proxy.backends.classify import HTTPStatusFailure, NotMCPFailure, StreamEnded

MAX_ERROR_BODY: Final = 64 * 1024
SESSION_HEADER: Final = "mcp-session-id"
_OWN_HEADERS: Final = frozenset(
    {"accept", "connection", "content-length", "content-type", "host", "last-event-id", "transfer-encoding"}
    | {"mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id"}
)
_NOT_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)


class Attempt:
    """What became of the HTTP requests made for one MCP request. Filled in by `BackendTransport`."""

    __slots__ = ("executed", "failure", "on_failure", "session_lost", "status")

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self.executed = True
        """False once it is certain that the server did not run the request."""
        self.session_lost = False
        self.status: int | None = None
        self.on_failure: Callable[[], None] | None = None

    def fail(self, failure: BaseException, *, executed: bool) -> None:
        if self.failure is None:
            self.failure, self.executed = failure, executed
            if self.on_failure is not None:
                self.on_failure()


current_attempt: ContextVar[Attempt | None] = ContextVar("backend_attempt", default=None)


class BadCABundle(ValueError):
    """The PEM text holds no usable certificate."""


@lru_cache(maxsize=256)
def ssl_context(ca_bundle: str | None) -> ssl.SSLContext:
    """The TLS context that trusts `ca_bundle` (PEM), or the system's authorities. Loading one costs 20 ms: it is shared.

    Raises:
        BadCABundle: the text is not PEM certificates.
    """
    if ca_bundle is None:
        return httpx2.create_ssl_context()
    try:
        if "BEGIN CERTIFICATE" not in ca_bundle:
            raise ValueError("no certificate")  # noqa: TRY301 - cadata="" would mean the system's authorities
        return ssl.create_default_context(cadata=ca_bundle)
    except (ssl.SSLError, ValueError) as error:
        raise BadCABundle("not a bundle of PEM certificates") from error


class BackendTransport(httpx2.AsyncBaseTransport):
    """See the module."""

    def __init__(self, headers: Mapping[str, str], ca_bundle: str | None) -> None:
        self.replace_headers(headers)
        self.on_stream_end: Callable[[], None] | None = None
        """Called when a standing GET stream ends or cannot be opened."""
        self._inner = httpx2.AsyncHTTPTransport(
            verify=ssl_context(ca_bundle),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=128, keepalive_expiry=30),
        )

    def replace_headers(self, headers: Mapping[str, str]) -> None:
        """Requests carry these from now on, but for those that belong to the exchange itself."""
        self._headers = {name: value for name, value in headers.items() if name.lower() not in _OWN_HEADERS}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers.update(self._headers)
        if request.method != "POST":
            return await self._other(request)
        attempt = current_attempt.get() or Attempt()
        try:
            response = await self._inner.handle_async_request(request)
        except (httpx2.RequestError, OSError, ssl.SSLError) as error:
            attempt.fail(error, executed=not isinstance(error, _NOT_SENT))
            return _stand_in(request)
        attempt.status = response.status_code
        try:
            return await _checked(request, response, attempt)
        except (httpx2.RequestError, httpx2.StreamError, OSError) as error:
            await response.aclose()
            attempt.fail(error, executed=True)
            return _stand_in(request)

    async def _other(self, request: httpx2.Request) -> httpx2.Response:
        """GET (the standing stream) and DELETE (the end of a session)."""
        try:
            response = await self._inner.handle_async_request(request)
        except (httpx2.RequestError, OSError) as error:
            if request.method == "GET":
                self._stream_ended()
                if (attempt := current_attempt.get()) is not None:
                    attempt.fail(error, executed=False)
            raise
        if request.method == "GET" and response.status_code == 200:
            response.stream = _Watched(response.stream, lambda _error: self._stream_ended())
        elif request.method == "GET" and (attempt := current_attempt.get()) is not None:
            attempt.status = response.status_code
        return response

    def _stream_ended(self) -> None:
        if self.on_stream_end is not None:
            self.on_stream_end()

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Watched(httpx2.AsyncByteStream):
    """A response stream that tells how it ended: with an error, or None for its regular end."""

    def __init__(
        self, inner: httpx2.SyncByteStream | httpx2.AsyncByteStream, ended: Callable[[Exception | None], None]
    ) -> None:
        assert isinstance(inner, httpx2.AsyncByteStream)
        self._inner = inner
        self._ended = ended

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                yield chunk
        except (httpx2.RequestError, OSError) as error:
            self._ended(error)
            raise
        self._ended(None)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _checked(request: httpx2.Request, response: httpx2.Response, attempt: Attempt) -> httpx2.Response:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.status_code in (202, 204) or 300 <= response.status_code < 400:
        return response
    if response.status_code >= 400:
        return await _refused(request, response, attempt)
    if "text/event-stream" not in request.headers.get("accept", ""):
        return response  # HTTP+SSE: the answer comes on the standing stream, this is only its receipt
    if kind == "text/event-stream":
        response.stream = _Watched(response.stream, lambda error: attempt.fail(error or StreamEnded(), executed=True))
        return response
    if kind == "application/json":
        await response.aread()
        return response
    await response.aclose()
    attempt.fail(NotMCPFailure(f"it answered with {kind or 'no content type'}"), executed=True)
    return _stand_in(request)


async def _refused(request: httpx2.Request, response: httpx2.Response, attempt: Attempt) -> httpx2.Response:
    """An HTTP error: keep a JSON-RPC error that it carries, and note whether it says that the session is gone."""
    body = await _read_at_most(response, MAX_ERROR_BODY)
    in_session = SESSION_HEADER in request.headers
    gone = response.status_code == 404 or (response.status_code == 400 and b"session" in body.lower())
    if in_session and gone:
        attempt.session_lost = True
        attempt.fail(HTTPStatusFailure(response.status_code), executed=False)
        return _stand_in(request)
    if _is_jsonrpc_error(body):
        return httpx2.Response(
            response.status_code, headers={"content-type": "application/json"}, content=body, request=request
        )
    attempt.fail(HTTPStatusFailure(response.status_code), executed=response.status_code >= 500)
    return _stand_in(request, response.status_code)


async def _read_at_most(response: httpx2.Response, limit: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > limit:
            break
    await response.aclose()
    return bytes(body[:limit])


def _is_jsonrpc_error(body: bytes) -> bool:
    try:
        message = json.loads(body)
    except ValueError:
        return False
    return isinstance(message, dict) and message.get("jsonrpc") == "2.0" and isinstance(message.get("error"), dict)


def _stand_in(request: httpx2.Request, status: int = 502) -> httpx2.Response:
    """The answer that ends just this request. The caller replaces it by what its `Attempt` noted."""
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": INTERNAL_ERROR, "message": "the request failed"}}
    return httpx2.Response(status, json=body, request=request)


def http_client(transport: BackendTransport, connect_timeout: float) -> httpx2.AsyncClient:
    """A client over `transport`. It has no read timeout: streams stand open, and each MCP request has its own deadline."""
    timeout = httpx2.Timeout(connect_timeout, read=None, write=connect_timeout, pool=None)
    return httpx2.AsyncClient(transport=transport, timeout=timeout, trust_env=False)
