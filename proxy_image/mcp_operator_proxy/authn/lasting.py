"""Streams that outlast the token that opened them: they end with it, and the client opens another one with a new token.

A call that began with a good token is let finish: its timeout ends it. `subscriptions/listen`, which is a POST too, is a
stream.
"""

import asyncio
import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

RENEWED: Final = "mcp_operator_proxy.renewed"
"""Key in an ASGI scope: a function that says until when a stream is good, where its session was renewed by another token."""
_LISTEN: Final = "subscriptions/listen"
_LONGEST: Final = 3600.0
"""Seconds of one sleep, as clocks are set."""


async def lasting(app: ASGIApp, expires: float, scope: Scope, receive: Receive, send: Send) -> None:
    """Run `app`; from `expires` (seconds since the epoch) on, where it answers with a stream, its client has gone for it."""
    ending = asyncio.Event()
    state = _Response(send)

    async def heard() -> Message:
        if ending.is_set():
            return {"type": "http.disconnect"}
        loop = asyncio.get_running_loop()
        waiting = [loop.create_task(_received(receive)), loop.create_task(ending.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return waiting[0].result() if waiting[0].done() else {"type": "http.disconnect"}  # type: ignore[return-value]
        finally:
            for task in waiting:
                task.cancel()

    watching = asyncio.get_running_loop().create_task(_watch(scope, expires, ending))
    try:
        await app(scope, heard, state.send)
    finally:
        watching.cancel()
    if ending.is_set():
        await state.finish()


async def _received(receive: Receive) -> Message:
    return await receive()


async def _watch(scope: Scope, expires: float, ending: asyncio.Event) -> None:
    while True:
        renewed = scope.get(RENEWED)
        until = max(expires, renewed()) if renewed is not None else expires
        left = until - time.time()
        if left <= 0:
            break
        await asyncio.sleep(min(left, _LONGEST))
    if scope["method"] == "GET" or scope.get("mcp_method") == _LISTEN:
        ending.set()


class _Response:
    """What has been sent of a response."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = self._ended = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self._ended = True
        await self._send(message)

    async def finish(self) -> None:
        """End the stream in order, so that its client does not take it for broken."""
        if self._begun and not self._ended:
            self._ended = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
