"""HTTP+SSE, the transport of 2024-11-05, for clients that know no other: `GET PATH/sse` and `POST PATH/messages`.

The stream's first event, `endpoint`, says where to post; every message for the client follows as a `message` event.
Host, Origin and credentials have been checked in front of it, as for streamable HTTP.
Source: MCP 2024-11-05, "Transports: HTTP with SSE".
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal
from urllib.parse import quote

from mcp_types import INTERNAL_ERROR, INVALID_REQUEST, PARSE_ERROR, JSONRPCMessage, jsonrpc_message_adapter
from pydantic import ValidationError
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mcp_operator_proxy.auth import PRINCIPAL, Principal, same_owner
from mcp_operator_proxy.authn.lasting import RENEWED
from mcp_operator_proxy.fronts.channel import Channel, ChannelClosed, Channels, TooManyChannels
from mcp_operator_proxy.tasks import cancel

PING_SECONDS: Final = 15.0
"""Between two comments on an open stream, by which proxies on the way and a client that has gone are noticed."""
STALL_SECONDS: Final = 30.0
"""A client that takes nothing off its stream for this long has lost it."""
_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
Part = Literal["sse", "messages"]
PassOn = Callable[[str, Scope, Receive, Send], Awaitable[bool]]
"""Whether the process that has the stream of that id has answered the request."""


def locate(path: str, routes: Mapping[str, Any]) -> tuple[str, Part] | None:
    """The route whose HTTP+SSE front `path` belongs to, where no route has that very path. Pure.

    The route `/mcp` has `/mcp/sse` and `/mcp/messages`, the route `/` has `/sse` and `/messages`.
    """
    parts: tuple[Part, ...] = ("sse", "messages")
    for part in parts:
        if path.endswith(f"/{part}") and (base := path.removesuffix(f"/{part}") or "/") in routes:
            return base, part
    return None


class SSEFront:
    """The two resources of one route, as ASGI apps."""

    def __init__(self, path: str, channels: Channels, pass_on: PassOn) -> None:
        self._pass_on = pass_on
        self._messages = f"{path.rstrip('/')}/messages"
        self._channels = channels

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`GET PATH/sse`: the session lives as long as this response."""
        if scope["method"] != "GET":
            await _refuse(405, INVALID_REQUEST, "the stream is opened with GET", {"allow": "GET"})(scope, receive, send)
            return
        try:
            async with self._channels.open(_principal(scope)) as channel:
                scope[RENEWED] = lambda: channel.expires
                await self._answer(channel, scope, receive, send)
        except TooManyChannels:
            refused = _refuse(503, INTERNAL_ERROR, "too many sessions; try again later", {"retry-after": "5"})
            await refused(scope, receive, send)

    async def _answer(self, channel: Channel, scope: Scope, receive: Receive, send: Send) -> None:
        writer = _Writer(send)
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        where = quote(scope.get("root_path", "").rstrip("/") + self._messages)
        await writer.event("endpoint", f"{where}?session_id={channel.id}")
        loop = asyncio.get_running_loop()
        gone = loop.create_task(_disconnected(receive))
        writing = loop.create_task(writer.write_all(channel))
        pinging = loop.create_task(writer.ping())
        try:
            await asyncio.wait([gone, writing, pinging], return_when=asyncio.FIRST_COMPLETED)
            if writing.done() and not gone.done() and writing.exception() is None:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await cancel([gone, writing, pinging])
            for task in (writing, pinging):  # a client that has gone is no error of anybody's
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    task.result()

    async def message(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST PATH/messages?session_id=ID`, its body read in front and within its limit."""
        session_id = QueryParams(scope["query_string"]).get("session_id")
        if (
            scope["method"] == "POST"
            and session_id is not None
            and self._channels.find(session_id) is None
            and await self._pass_on(session_id, scope, receive, send)
        ):
            return
        await (await self._accept(scope, receive))(scope, receive, send)

    async def _accept(self, scope: Scope, receive: Receive) -> Response:
        if scope["method"] != "POST":
            return _refuse(405, INVALID_REQUEST, "messages are sent with POST", {"allow": "POST"})
        session_id = QueryParams(scope["query_string"]).get("session_id")
        if session_id is None:
            return _refuse(400, INVALID_REQUEST, "the session_id of the stream's endpoint event is needed")
        channel = self._channels.find(session_id)
        if channel is None or not same_owner(channel.principal, _principal(scope)):
            return _refuse(404, INVALID_REQUEST, "there is no such session, or it has ended: open a new stream")
        channel.renew(_principal(scope))
        request = Request(scope, receive)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _refuse(415, INVALID_REQUEST, "the Content-Type must be application/json")
        try:
            message: JSONRPCMessage = jsonrpc_message_adapter.validate_json(await request.body(), by_name=False)
        except ValidationError:
            return _refuse(400, PARSE_ERROR, "the body is not one JSON-RPC 2.0 message")
        try:
            await channel.put(message, request)
        except ChannelClosed:
            return _refuse(404, INVALID_REQUEST, "the session has ended: open a new stream")
        return Response("Accepted", 202)


class _Writer:
    """Server-sent events on one response; a stalled client raises TimeoutError, which is an OSError."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._one_at_a_time = asyncio.Lock()

    async def write_all(self, channel: Channel) -> None:
        async for message in channel.messages():
            await self.event("message", message.model_dump_json(by_alias=True, exclude_unset=True))

    async def ping(self) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            await self._bytes(b": ping\n\n")

    async def event(self, name: str, data: str) -> None:
        # JSON holds no line break outside of \n escapes, so that one data line is enough.
        await self._bytes(f"event: {name}\ndata: {data}\n\n".encode())

    async def _bytes(self, data: bytes) -> None:
        async with self._one_at_a_time, asyncio.timeout(STALL_SECONDS):
            await self._send({"type": "http.response.body", "body": data, "more_body": True})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _principal(scope: Scope) -> Principal | None:
    found = scope.get(PRINCIPAL)
    return found if isinstance(found, Principal) else None


def _refuse(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> Response:
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
    return Response(json.dumps(body), status, headers, "application/json")
