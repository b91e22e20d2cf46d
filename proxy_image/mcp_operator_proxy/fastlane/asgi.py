"""The lane behind any ASGI server: the same exchanges, with a task that passes on what they put out."""

import asyncio
from collections import deque
from typing import Any, Final

from starlette.types import Message, Receive, Scope, Send

from mcp_operator_proxy.auth import PRINCIPAL
from mcp_operator_proxy.fastlane.exchange import Exchange
from mcp_operator_proxy.fastlane.lane import MAX_BODY, Lane

HIGH_WATER: Final = 64 * 1024
"""Bytes that wait for a slow client before the backend is left waiting."""


class _Sink:
    """Puts ASGI messages into a queue."""

    def __init__(self) -> None:
        self.messages: deque[Message] = deque()
        self.waiting = 0
        """Bytes of body in the queue."""
        self.exchange: Exchange | None = None
        self.handed: dict[str, Any] | None = None
        self.opened = False
        self.failed = False
        self.gone = False
        self._wake = asyncio.Event()
        self._paused = False

    async def next(self) -> Message | None:
        """The next message; None once the full path has to go on."""
        while not self.messages:
            if self.handed is not None or self.failed or self.gone:
                return None
            self._wake.clear()
            await self._wake.wait()
        message = self.messages.popleft()
        self.waiting -= len(message.get("body", b""))
        if self._paused and self.waiting < HIGH_WATER // 2 and self.exchange is not None:
            self._paused = False
            self.exchange.resume()
        return message

    def answer(self, status: int, body: bytes, session: bytes | None) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        self._start(status, headers, session)
        self._put(body, more=False)

    def open(self, content_type: bytes, session: bytes | None) -> None:
        self.opened = True
        headers = [(b"content-type", content_type)]
        if content_type == b"text/event-stream":
            headers += [(b"cache-control", b"no-cache, no-transform"), (b"x-accel-buffering", b"no")]
        self._start(200, headers, session)

    def write(self, data: bytes) -> None:
        self._put(data, more=True)
        if self.waiting > HIGH_WATER and not self._paused and self.exchange is not None:
            self._paused = True
            self.exchange.pause()

    def close(self) -> None:
        self._put(b"", more=False)

    def disconnect(self) -> None:
        """The client has gone."""
        self.gone = True
        self._wake.set()
        if self.exchange is not None:
            self.exchange.client_gone()

    def broken(self) -> None:
        self.failed = True
        self._wake.set()

    def hand_over(self, scope: dict[str, Any]) -> None:
        self.handed = scope
        self._wake.set()

    def _start(self, status: int, headers: list[tuple[bytes, bytes]], session: bytes | None) -> None:
        if session is not None:
            headers.append((b"mcp-session-id", session))
        self.messages.append({"type": "http.response.start", "status": status, "headers": headers})

    def _put(self, body: bytes, *, more: bool) -> None:
        self.messages.append({"type": "http.response.body", "body": body, "more_body": more})
        self.waiting += len(body)
        self._wake.set()


async def try_lane(  # noqa: PLR0917 - the three of ASGI, and what they are about
    lane: Lane, path: str, body: bytes, scope: Scope, receive: Receive, send: Send
) -> Send | None:
    """Answer a POST through the lane; None when that is done.

    Otherwise the full path has to answer, with the `send` that is returned: `scope` then holds what it needs to go on.
    """
    if len(body) > MAX_BODY or scope.get("query_string"):
        return send
    sink = _Sink()
    client = scope.get("client")
    taken = lane.take(
        path.encode("latin-1", "replace"),
        scope["headers"],
        body,
        sink,
        scheme=scope.get("scheme", "http"),
        client=client[0] if client else None,
        known=scope.get(PRINCIPAL),
    )
    if taken is False:
        return send
    if isinstance(taken, Exchange) and not taken.done:
        sink.exchange = taken
    watching = asyncio.ensure_future(_gone(receive, sink))
    try:
        while (message := await sink.next()) is not None:
            await send(message)
            if message["type"] == "http.response.body" and not message["more_body"]:
                return None
    finally:
        watching.cancel()
        if sink.exchange is not None:
            sink.exchange.client_gone()
    if sink.gone:
        return None
    if sink.failed:
        raise ConnectionError("the server's answer broke off in the middle")
    scope.update(sink.handed or {})
    return _without_start(send) if sink.opened else send


async def _gone(receive: Receive, sink: _Sink) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    sink.disconnect()


def _without_start(send: Send) -> Send:
    async def rest(message: Message) -> None:
        if message["type"] != "http.response.start":
            await send(message)

    return rest
