"""HTTP to one backend: a shared connection pool and TLS context, headers that live in one place, failures kept exact.

The MCP client's streamable-HTTP transport turns one failed POST into the end of the whole session, and every HTTP
error into one of two sentences. `BackendTransport` stands beneath it: a POST that fails is answered with a JSON-RPC
error for just that request, and what truly happened is noted on the `Attempt` that the caller put into its context.
"""

import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from typing import Final

import httpx2
import msgspec
from mcp_types import INTERNAL_ERROR

from mcp_operator_proxy import callers, callertoken
from mcp_operator_proxy.backends.classify import AnswerTooLarge, HTTPStatusFailure, NotMCPFailure, StreamEnded
from mcp_operator_proxy.backends.network import EgressDenied, GuardedTransport
from mcp_operator_proxy.backends.pools import BUSY, Pools
from mcp_operator_proxy.backends.unix import UnixTransport
from mcp_operator_proxy.egress import Egress
from mcp_operator_proxy.tracing.spans import Leg

MAX_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of one answer of a backend: a JSON body, or one event of a stream."""
MAX_ERROR_BODY: Final = 64 * 1024
MAX_KEPT: Final = 128
KEPT_SECONDS: Final = 4.0
"""Idle connections are not used after this time: uvicorn and Node.js close theirs after 5 s, and a call must not meet that."""
TCP_SHARE: Final = 0.35
"""Of the time for connecting, for TCP and for TLS: over before negotiation, which would leave the socket of a TLS handshake
that it cancels to the garbage collector."""
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
NOTICE_DEAD_PEERS: Final = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *((socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in _KEEPALIVE if hasattr(socket, name)),
]
"""TCP keepalive: a standing stream to a host that vanished without a word breaks after 25 s."""
SESSION_HEADER: Final = "mcp-session-id"
OWN_HEADERS: Final = frozenset(
    {"accept", "connection", "content-length", "content-type", "host", "last-event-id", "transfer-encoding"}
    | {"mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id"}
)
_NOT_SENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
    EgressDenied,
)


class Attempt:
    """What became of the HTTP requests made for one MCP request. Filled in by `BackendTransport`."""

    __slots__ = (
        "executed",
        "failure",
        "headers",
        "leg",
        "on_failure",
        "session_id",
        "session_lost",
        "status",
        "waited",
    )

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self.executed = True
        """False once it is certain that the server did not run the request."""
        self.session_lost = False
        self.session_id: str | None = None
        """The one that the server gave with an answer, in the handshake eras."""
        self.status: int | None = None
        self.waited = 0.0
        """Seconds for the server's answers."""
        self.on_failure: Callable[[], None] | None = None
        self.headers: tuple[tuple[str, str], ...] = ()
        """Those of a trace, sent beside the backend's."""
        self.leg: Leg | None = None
        """Its span, where it is recorded."""

    def fail(self, failure: BaseException, *, executed: bool) -> None:
        if self.failure is None:
            self.failure, self.executed = failure, executed
            if self.on_failure is not None:
                self.on_failure()


current_attempt: ContextVar[Attempt | None] = ContextVar("backend_attempt", default=None)


class BadCABundle(ValueError):
    """The PEM text holds no usable certificate."""


@lru_cache(maxsize=256)
def ssl_context(ca_bundle: str | None, *, http2: bool = False) -> ssl.SSLContext:  # noqa: ARG001 - see below
    """The TLS context that trusts `ca_bundle` (PEM), or the system's authorities. Loading one costs 20 ms: it is shared.

    The HTTP library writes what it offers by ALPN into the context, so those with HTTP/2 have one of their own.

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

    def __init__(
        self,
        headers: Mapping[str, str],
        ca_bundle: str | None,
        *,
        http2: bool = False,
        uds: str | None = None,
        max_answer: int = MAX_ANSWER,
        identity: str | None = None,
        egress: Egress | None = None,
    ) -> None:
        """`http2` offers it in the TLS handshake; `uds` is the path of a unix socket that is connected to instead of the URL's host;
        `identity` is the key that signs what the URL's query says of the caller (`callers`); `egress` decides which addresses
        may be connected to."""
        self.replace_headers(headers)
        self.on_stream_end: Callable[[], None] | None = None
        """Called when a standing GET stream ends or cannot be opened."""
        self._max_answer = max_answer
        self._identity = identity
        self._sealed: callertoken.CallerToken | None = None
        self._ca_bundle = ca_bundle
        self._http2 = http2
        self._egress = egress
        self.reach(uds)

    def reach(self, uds: str | None) -> None:
        """Connect to the unix socket `uds` from now on, or to the URL's host. To be called before the first request."""
        http2 = self._http2
        context = ssl_context(self._ca_bundle, http2=http2)
        busy = MAX_KEPT if http2 else BUSY  # one connection of HTTP/2 carries them all
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=busy, keepalive_expiry=KEPT_SECONDS)

        def new_pool() -> httpx2.AsyncHTTPTransport:
            if uds is not None:
                return UnixTransport(uds, limits)
            return GuardedTransport(context, self._egress, http2=http2, limits=limits, socket_options=NOTICE_DEAD_PEERS)

        self._pools = Pools(new_pool, kept_seconds=KEPT_SECONDS, busy=busy)
        self._inner: httpx2.AsyncBaseTransport = self._pools

    def counts(self) -> tuple[int, int]:
        """Of its connections: those in use, idle ones. From any thread."""
        return self._pools.counts()

    def replace_headers(self, headers: Mapping[str, str]) -> None:
        """Requests carry these from now on, but for those that belong to the exchange itself."""
        self._headers = {name: value for name, value in headers.items() if name.lower() not in OWN_HEADERS}

    def seal(self, token: str | None) -> None:
        """Requests for a user carry this token from now on, encrypted by the identity key; None: none."""
        if token is None:
            self._sealed = None
        elif self._sealed is None or self._sealed.token != token:
            self._sealed = callertoken.CallerToken(token, time.time())

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers.update(self._headers)
        if self._identity is not None:
            self._sign(request, self._identity)
        if request.method != "POST":
            return await self._other(request)
        attempt, began = current_attempt.get() or Attempt(), time.perf_counter()
        try:
            return await self._posted(request, attempt)
        finally:
            attempt.waited += time.perf_counter() - began

    async def _posted(self, request: httpx2.Request, attempt: Attempt) -> httpx2.Response:
        if attempt.headers:
            request.headers.update(attempt.headers)
            if attempt.leg is not None and attempt.leg.request_id is None:
                attempt.leg.request_id = _request_id(request)
        try:
            response = await self._inner.handle_async_request(request)
        except (httpx2.RequestError, OSError, ssl.SSLError) as error:
            attempt.fail(error, executed=not isinstance(error, _NOT_SENT))
            return _stand_in(request)
        attempt.status = response.status_code
        attempt.session_id = response.headers.get(SESSION_HEADER, attempt.session_id)
        try:
            return await self._checked(request, response, attempt)
        except (httpx2.RequestError, httpx2.StreamError, OSError, AnswerTooLarge) as error:
            await response.aclose()
            attempt.fail(error, executed=True)
            return _stand_in(request)

    def _sign(self, request: httpx2.Request, key: str) -> None:
        """Say in a signed header what the URL says of the caller, and bring the caller's token."""
        for name in (callers.HEADER, callertoken.HEADER):
            request.headers.pop(name, None)
        if query := request.url.query.decode():
            said = request.headers[callers.HEADER] = callers.signed(key, query, time.time())
            if self._sealed is not None:
                request.headers[callertoken.HEADER] = callertoken.sealed(key, said, self._sealed)
            request.url = request.url.copy_with(query=None)

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
            return response
        if request.method == "GET" and (attempt := current_attempt.get()) is not None:
            attempt.status = response.status_code
        return await _without_body(request, response)

    def _stream_ended(self) -> None:
        if self.on_stream_end is not None:
            self.on_stream_end()

    async def _checked(self, request: httpx2.Request, response: httpx2.Response, attempt: Attempt) -> httpx2.Response:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.status_code in (202, 204) or 300 <= response.status_code < 400:
            return await _without_body(request, response)
        if response.status_code >= 400:
            return await _refused(request, response, attempt)
        if "text/event-stream" not in request.headers.get("accept", ""):
            # HTTP+SSE: the answer comes on the standing stream, this is only its receipt.
            return await _without_body(request, response)
        if kind == "text/event-stream":
            response.stream = _Watched(
                response.stream, lambda error: attempt.fail(error or StreamEnded(), executed=True), attempt
            )
            return response
        if kind == "application/json":
            return await _whole(request, response, self._max_answer)
        await response.aclose()
        attempt.fail(NotMCPFailure(f"it answered with {kind or 'no content type'}"), executed=True)
        return _stand_in(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Watched(httpx2.AsyncByteStream):
    """A response stream that tells how it ended: with an error, or None for its regular end. Waits are the attempt's."""

    def __init__(
        self,
        inner: httpx2.SyncByteStream | httpx2.AsyncByteStream,
        ended: Callable[[Exception | None], None],
        attempt: Attempt | None = None,
    ) -> None:
        assert isinstance(inner, httpx2.AsyncByteStream)
        self._inner = inner
        self._ended = ended
        self._attempt = attempt or Attempt()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            began = time.perf_counter()
            async for chunk in self._inner:
                self._attempt.waited += time.perf_counter() - began
                yield chunk
                began = time.perf_counter()
        except (httpx2.RequestError, OSError) as error:
            self._ended(error)
            raise
        self._ended(None)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _refused(request: httpx2.Request, response: httpx2.Response, attempt: Attempt) -> httpx2.Response:
    """An HTTP error: keep a JSON-RPC error that it carries, and note whether it says that the session is gone.

    Of a 401 its challenge says more than its body may.
    """
    body = await _read_at_most(response, MAX_ERROR_BODY)
    in_session = SESSION_HEADER in request.headers
    gone = response.status_code == 404 or (response.status_code == 400 and b"session" in body.lower())
    if in_session and gone:
        attempt.session_lost = True
        attempt.fail(HTTPStatusFailure(response.status_code), executed=False)
        return _stand_in(request)
    if response.status_code != 401 and _is_jsonrpc_error(body):
        return httpx2.Response(
            response.status_code, headers={"content-type": "application/json"}, content=body, request=request
        )
    failure = HTTPStatusFailure(response.status_code, response.headers.get("www-authenticate", ""))
    attempt.fail(failure, executed=response.status_code >= 500)
    return _stand_in(request, response.status_code)


class _Request(msgspec.Struct):
    id: int | str | None = None


def _request_id(request: httpx2.Request) -> str | None:
    """The JSON-RPC id of the request in a POST; None where it holds something else."""
    try:
        found = msgspec.json.decode(request.content, type=_Request).id
    except (msgspec.MsgspecError, httpx2.RequestNotRead):
        return None
    return None if found is None else str(found)


async def _whole(request: httpx2.Request, response: httpx2.Response, limit: int) -> httpx2.Response:
    """The response with its body read. Raises AnswerTooLarge."""
    length = response.headers.get("content-length", "")
    if length.isdecimal() and "content-encoding" not in response.headers:
        if int(length) > limit:
            raise AnswerTooLarge(limit)
        await response.aread()
        return response
    body = await _read_at_most(response, limit + 1)
    if len(body) > limit:
        raise AnswerTooLarge(limit)
    return httpx2.Response(response.status_code, headers=_without_length(response), content=body, request=request)


async def _without_body(request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
    """The response without its body, which nobody wants. It is read, if short, so that the connection can be used again."""
    await _read_at_most(response, MAX_ERROR_BODY)
    return httpx2.Response(response.status_code, headers=_without_length(response), request=request)


def _without_length(response: httpx2.Response) -> list[tuple[str, str]]:
    of_the_body = ("content-length", "content-encoding", "transfer-encoding")
    return [(name, value) for name, value in response.headers.multi_items() if name.lower() not in of_the_body]


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


def timeouts(connect_timeout: float) -> httpx2.Timeout:
    """The HTTP client's part of a connection that may take `connect_timeout` seconds in all, negotiation included."""
    return httpx2.Timeout(connect_timeout * TCP_SHARE, read=None, write=connect_timeout, pool=None)


def http_client(transport: BackendTransport, connect_timeout: float) -> httpx2.AsyncClient:
    """A client over `transport`, to be shared by all users of a backend.

    It has no read timeout: streams stand open, and each MCP request has its own deadline. It takes no cookies, which
    would carry what the server knows of one user into the requests of another.
    """
    client = httpx2.AsyncClient(transport=transport, timeout=timeouts(connect_timeout), trust_env=False)
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return client
