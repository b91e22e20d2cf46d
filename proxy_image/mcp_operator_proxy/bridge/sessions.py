"""HTTP sessions: who is there, what waits for them, and when they end."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mcp_operator_proxy.bridge.call import Call
from mcp_operator_proxy.bridge.connection import Connection
from mcp_operator_proxy.bridge.jsonrpc import Message, RequestId
from mcp_operator_proxy.bridge.outbox import Outbox

PENDING: Final = 256
"""Messages kept for a session that has no stream open."""


class Session:
    """One client, from its `initialize` on. `connection` is its own process where it has one."""

    def __init__(self, connection: Connection | None = None) -> None:
        self.id = secrets.token_hex(16)
        self.connection = connection
        self.log_level: str | None = None
        self.ended = False
        self._calls: dict[RequestId, Call] = {}
        self._streams: list[Outbox] = []
        self._pending = Outbox(PENDING)
        self._active = 0
        self._last_used = time.monotonic()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While an HTTP request of the session goes on it isn't idle."""
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1
            self._last_used = time.monotonic()

    def idle_seconds(self) -> float:
        return 0.0 if self._active else time.monotonic() - self._last_used

    @contextmanager
    def calling(self, call: Call) -> Iterator[None]:
        self._calls[call.id] = call
        try:
            yield
        finally:
            if self._calls.get(call.id) is call:
                del self._calls[call.id]

    @property
    def busy(self) -> bool:
        """Whether a call is in flight."""
        return bool(self._calls)

    def call(self, request_id: RequestId) -> Call | None:
        """The call in flight that has this id."""
        return self._calls.get(request_id)

    @contextmanager
    def stream(self) -> Iterator[Outbox]:
        """A stream for what belongs to no request. With several open, the newest gets each message."""
        outbox = Outbox()
        self._streams.append(outbox)
        if self.ended:
            outbox.close()
        self._move(self._pending, outbox)
        try:
            yield outbox
        finally:
            self._streams.remove(outbox)
            self._move(outbox, self._streams[-1] if self._streams else self._pending)

    def deliver(self, message: Message) -> bool:
        """A message that belongs to no request. False where it is not taken."""
        return (self._streams[-1] if self._streams else self._pending).push(message)

    def deliver_near_call(self, message: Message) -> bool:
        """A message that most likely belongs to the newest call: on its stream, so that it comes before the answer."""
        for call in reversed(self._calls.values()):
            if call.push(message):
                return True
        return self.deliver(message)

    def end(self) -> list[Call]:
        """Close the streams; returns the calls that are left over."""
        self.ended = True
        self.close_streams()
        return list(self._calls.values())

    def close_streams(self) -> None:
        """End the streams that belong to no request, which would go on for ever."""
        for stream in self._streams:
            stream.close()

    @staticmethod
    def _move(source: Outbox, target: Outbox) -> None:
        for message in source.take_all():
            target.push(message)
