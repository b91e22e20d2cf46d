"""The MCP endpoint: streamable HTTP of both eras (MCP 2025-11-25 and 2026-07-28, "Transports").

It serves the era that the process speaks. What a client of the other one sends is answered with -32022 and the
versions that are served, on which clients that speak both eras go on in the right one.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message as Event
from starlette.types import Receive, Scope, Send

from mcp_operator_proxy import callers, callertoken
from mcp_operator_proxy.bridge import jsonrpc, modern
from mcp_operator_proxy.bridge.call import Call
from mcp_operator_proxy.bridge.hub import Caller, Hub, Opened
from mcp_operator_proxy.bridge.jsonrpc import InvalidMessage, Kind, Message, params_of
from mcp_operator_proxy.bridge.outbox import Outbox
from mcp_operator_proxy.bridge.sessions import Session
from mcp_operator_proxy.bridge.versions import HANDSHAKE_VERSIONS, MODERN_VERSIONS
from mcp_operator_proxy.callertoken import CallerToken

log = logging.getLogger(__name__)

Value = TypeVar("Value")

_JSON: Final = "application/json"
_SSE: Final = "text/event-stream"
_SESSION: Final = "mcp-session-id"
_STREAM_HEADERS: Final = {"content-type": _SSE, "cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}
_METHOD_NOT_ALLOWED: Final = (
    jsonrpc.error(None, jsonrpc.INVALID_REQUEST, "method not allowed"),
    405,
    {"allow": "GET, POST, DELETE"},
)
_NOBODY: Final = "this server runs with the token of each user: only a proxy that has its key may ask, for a user"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Rejection(Exception):
    """An HTTP answer instead of the one asked for, with a JSON-RPC error as its body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: int = jsonrpc.INVALID_REQUEST,
        request_id: jsonrpc.RequestId | None = None,
        data: object = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.response = _json(jsonrpc.error(request_id, code, message, data), status, headers)


class McpEndpoint:
    """An ASGI application on top of a hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._settings = hub.settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            self._check_origin(request.headers)
            if request.method == "POST":
                await self._post(request, send)
            elif request.method == "GET":
                await self._get(request, send)
            elif request.method == "DELETE":
                await self._delete(request, send)
            else:
                await _json(*_METHOD_NOT_ALLOWED)(scope, receive, send)
        except Rejection as rejection:
            await rejection.response(scope, receive, send)

    async def _post(self, request: Request, send: Send) -> None:
        accepts_json, accepts_stream = _accepts(request.headers)
        if not accepts_json and not accepts_stream:
            raise Rejection(406, f"the client has to accept {_JSON} or {_SSE}")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
            raise Rejection(415, f"the content type has to be {_JSON}")
        try:
            kind, message = jsonrpc.decode(await self._body(request))
        except InvalidMessage as error:
            code = jsonrpc.PARSE_ERROR if str(error) in {"not JSON", "invalid UTF-8"} else jsonrpc.INVALID_REQUEST
            raise Rejection(400, f"the body is {error}", code=code) from error
        if _is_modern(request.headers, message):
            await self._exchange(request, send, kind, message, (accepts_json, accepts_stream))
            return
        _check_version(request.headers, message)
        if kind is Kind.REQUEST and message["method"] == "initialize":
            await self._initialize(request, message, send)
            return
        session = self._session(request.headers, message.get("id") if kind is Kind.REQUEST else None)
        if self._settings.credential_env is not None and callertoken.HEADER in request.headers:
            self._hub.equip(self._caller(request))
        with session.in_use():
            if kind is Kind.REQUEST:
                await self._call(request, send, session, Call(message, streams=accepts_stream), accepts_json)
                return
            await self._take(session, kind, message)
            await Response(status_code=202)(request.scope, request.receive, send)

    async def _exchange(
        self, request: Request, send: Send, kind: Kind, message: Message, accepts: tuple[bool, bool]
    ) -> None:
        """A message of the 2026-07-28 era: a request for itself, which is cancelled by leaving it."""
        if kind is not Kind.REQUEST:
            await Response(status_code=202)(request.scope, request.receive, send)
            return
        known = self._hub.known
        if known and modern.is_discovery(known) and (header := modern.contradiction(request.headers, message)):
            raise Rejection(
                400, f"{header} does not say what the body says", code=jsonrpc.HEADER_MISMATCH, request_id=message["id"]
            )
        if self._hub.draining:
            raise Rejection(503, "the bridge is stopping", code=jsonrpc.SERVER_UNAVAILABLE, request_id=message["id"])
        call = Call(message, streams=accepts[1])
        with self._hub.standing(call) if call.stands else self._hub.serving(None, call):
            async with _watched(request.receive, call.outbox):
                await self._hub.exchange(call, self._caller(request))
                await self._answer(request, send, call, accepts[0])

    async def _initialize(self, request: Request, message: Message, send: Send) -> None:
        if not isinstance(params_of(message).get("protocolVersion"), str):
            raise Rejection(
                400, "initialize needs a protocolVersion", code=jsonrpc.INVALID_PARAMS, request_id=message["id"]
            )
        if self._hub.draining:
            raise Rejection(503, "the bridge is stopping", code=jsonrpc.SERVER_UNAVAILABLE, request_id=message["id"])
        answer = await _unless_disconnected(request.receive, self._hub.open(message, self._caller(request)))
        if answer is None:
            return
        if isinstance(answer, Opened):
            response = _json(answer.response, 200, {_SESSION: answer.session.id})
        else:
            after = {"retry-after": str(math.ceil(answer.retry_after))} if answer.retry_after else {}
            response = _json(answer.response, answer.status, after)
        await response(request.scope, request.receive, send)

    def _caller(self, request: Request) -> Caller:
        """`?user=KEY`, `?session=KEY` and `?for=catalogue` count on a private socket alone: over TCP anybody could say so.

        There a signed header says it, where the bridge has the key; who says nothing may ask for lists, unless processes have
        tokens of their users.
        """
        key, said = self._settings.identity_key, None
        if self._settings.uds is not None:
            query = request.query_params
        elif key is None:
            return Caller()
        elif (said := request.headers.get(callers.HEADER)) is None:
            if self._settings.credential_env is not None:
                raise Rejection(401, _NOBODY, data={"reason": "NoUser"}, headers={"www-authenticate": callers.HEADER})
            return Caller(catalogue=True, anonymous=True)
        else:
            query = _believed(key, said, "who calls")
        token = self._token(request, key, said) if key is not None and said is not None else None
        return Caller(
            query.get("user") or None, query.get("for") == "catalogue", query.get("session") or None, token=token
        )

    def _token(self, request: Request, key: str, caller: str) -> CallerToken | None:
        """The token that came for a caller that is believed."""
        value = request.headers.get(callertoken.HEADER)
        if value is None or self._settings.credential_env is None:
            return None
        try:
            return callertoken.opened(key, caller, value)
        except callertoken.NotOpened as error:
            raise Rejection(
                403, f"the user's token is not believed: {error}", data={"reason": "NoCredential"}
            ) from error

    async def _take(self, session: Session, kind: Kind, message: Message) -> None:
        """A notification or a response of the client."""
        if kind is Kind.RESPONSE:
            await self._hub.respond(session, message)
        elif message["method"] == "notifications/cancelled":
            params = params_of(message)
            request_id, reason = params.get("requestId"), str(params.get("reason", "cancelled by the client"))
            call = session.call(request_id) if isinstance(request_id, int | str) else None
            if call is not None and not call.done:
                call.cancel(reason, "cancelled by the client")
        else:
            await self._hub.notify(session, message)

    async def _call(self, request: Request, send: Send, session: Session, call: Call, accepts_json: bool) -> None:
        with self._hub.serving(session, call):
            async with _watched(request.receive, call.outbox):
                await self._hub.submit(session, call)
                await self._answer(request, send, call, accepts_json)

    async def _answer(self, request: Request, send: Send, call: Call, accepts_json: bool) -> None:
        """JSON where the response is the first to come, else a stream of events that ends with it."""
        silence = self._settings.keep_alive if call.streams else None
        try:
            async with asyncio.timeout(silence):
                first = await call.outbox.get()
        except TimeoutError:
            await _stream(send, call.outbox, {}, self._settings.keep_alive)
            return
        if first is None:
            return
        if "method" in first or not accepts_json:
            await _stream(send, call.outbox, {}, self._settings.keep_alive, first)
            return
        status = modern.status_of(first) if modern.has_envelope(call.message) else 200
        await _json(first, status)(request.scope, request.receive, send)

    async def _get(self, request: Request, send: Send) -> None:
        if not _accepts(request.headers)[1]:
            raise Rejection(406, f"the client has to accept {_SSE}")
        _check_version(request.headers, {})
        session = self._session(request.headers, None)
        if self._hub.draining:
            raise Rejection(503, "the bridge is stopping", code=jsonrpc.SERVER_UNAVAILABLE)
        with session.in_use(), session.stream() as outbox:
            async with _watched(request.receive, outbox):
                await _stream(send, outbox, {_SESSION: session.id}, self._settings.keep_alive)
            self._hub.metrics.dropped.inc(outbox.dropped)

    async def _delete(self, request: Request, send: Send) -> None:
        """The end of a session; or, as a signed header alone says, of the users who are gone (`callers.GONE`)."""
        if (gone := self._gone(request)) is not None:
            ended = [await self._hub.dismiss(user) for user in gone]
            status = 204 if any(ended) else 404
            await Response(status_code=status)(request.scope, request.receive, send)
            return
        session = self._session(request.headers, None)
        await self._hub.end(session, "the session was ended by the client")
        await Response(status_code=204)(request.scope, request.receive, send)

    def _gone(self, request: Request) -> list[str] | None:
        """Users of whom a proxy says that they are gone. None: it says nothing of the kind."""
        key, said = self._settings.identity_key, request.headers.get(callers.HEADER)
        if key is None or said is None or _SESSION in request.headers:
            return None
        return _believed(key, said, "who is gone").getlist(callers.GONE) or None

    def _session(self, headers: Headers, request_id: jsonrpc.RequestId | None) -> Session:
        name = headers.get(_SESSION)
        if name is None:
            raise Rejection(400, "the header Mcp-Session-Id is missing: open a session first", request_id=request_id)
        session = self._hub.sessions.get(name)
        if session is None:
            raise Rejection(404, "session not found: it has ended, or was never opened here", request_id=request_id)
        return session

    async def _body(self, request: Request) -> bytes:
        """The body; one over the limit is read a little further, so that its sender comes to read the answer."""
        limit, length = self._settings.max_body, 0
        parts: list[bytes] = []
        try:
            async for part in request.stream():
                length += len(part)
                if length > limit:
                    parts.clear()
                else:
                    parts.append(part)
                if length > 2 * limit:
                    break
        except ClientDisconnect:
            raise Rejection(400, "the body is incomplete") from None
        if length > limit:
            raise Rejection(413, f"the body is over the limit of {limit} bytes", headers={"connection": "close"})
        return b"".join(parts)

    def _check_origin(self, headers: Headers) -> None:
        """Only browsers send an Origin; one that is not listed may be a page that abuses its visitor's network."""
        origin = headers.get("origin")
        if origin is None or origin in self._settings.allowed_origins:
            return
        if self._settings.host in _LOOPBACK and _host_of(origin) in _LOOPBACK:
            return
        raise Rejection(403, "this Origin is not allowed")


def _believed(key: str, said: str, what: str) -> QueryParams:
    """What a signed header says."""
    try:
        return QueryParams(callers.believed(key, said, time.time()))
    except callers.NotBelieved as error:
        raise Rejection(403, f"{what} is not believed: {error}") from error


def _is_modern(headers: Headers, message: Message) -> bool:
    """Whether a message is of the 2026-07-28 era, by its header or by its envelope."""
    if message.get("method") == "initialize":
        return False
    return (
        headers.get("mcp-protocol-version") in MODERN_VERSIONS
        or modern.mutual([modern.meta_of(message).get(modern.VERSION)]) is not None
    )


def _check_version(headers: Headers, message: Message) -> None:
    requested = headers.get("mcp-protocol-version")
    if message.get("method") == "initialize" or (requested is None and message.get("method") != "server/discover"):
        return
    if requested in HANDSHAKE_VERSIONS and message.get("method") != "server/discover":
        return
    raise Rejection(
        400,
        "Unsupported protocol version: this server is opened with initialize",
        code=jsonrpc.UNSUPPORTED_PROTOCOL_VERSION,
        request_id=message.get("id"),
        data={"supported": list(HANDSHAKE_VERSIONS), "requested": requested or ""},
    )


def _accepts(headers: Headers) -> tuple[bool, bool]:
    """Whether the client reads JSON, and whether it reads a stream. No Accept header means all (RFC 9110, 12.5.1)."""
    accepted = {part.partition(";")[0].strip().lower() for part in headers.get("accept", "*/*").split(",")}
    everything = "*/*" in accepted
    return (
        everything or bool(accepted & {_JSON, "application/*"}),
        everything or bool(accepted & {_SSE, "text/*"}),
    )


async def _stream(
    send: Send, outbox: Outbox, headers: dict[str, str], keep_alive: float, first: Message | None = None
) -> None:
    """Server-sent events until the outbox ends."""
    raw = [(name.encode(), value.encode()) for name, value in {**_STREAM_HEADERS, **headers}.items()]
    await send({"type": "http.response.start", "status": 200, "headers": raw})
    await send(_part(_event(first) if first is not None else b": open\n\n"))
    while True:
        try:
            async with asyncio.timeout(keep_alive):
                message = await outbox.get()
        except TimeoutError:
            await send(_part(b": still here\n\n"))
            continue
        if message is None:
            break
        await send(_part(_event(message)))
    await send(_part(b"", more=False))


def _event(message: Message) -> bytes:
    return b"event: message\ndata: " + jsonrpc.encode(message) + b"\n\n"


def _part(body: bytes, *, more: bool = True) -> Event:
    return {"type": "http.response.body", "body": body, "more_body": more}


@contextlib.asynccontextmanager
async def _watched(receive: Receive, outbox: Outbox) -> AsyncIterator[None]:
    """Close the outbox when the client goes away."""

    async def watch() -> None:
        await _disconnected(receive)
        outbox.close()

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()


async def _unless_disconnected(receive: Receive, work: Coroutine[Any, Any, Value]) -> Value | None:
    """The result of `work`, which is cancelled (None) when the client goes away."""
    task, gone = asyncio.create_task(work), asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        return None
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _json(message: Message, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(jsonrpc.encode(message), status, headers, media_type=_JSON)


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).hostname
    except ValueError:
        return None
