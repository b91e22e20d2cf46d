"""uvicorn's HTTP/1.1 protocol with bounds on what one client can hold: uvicorn itself waits for ever and keeps any head.

Without them a client that sends headers without an end fills the memory, and one that never ends a request, or never
reads what it asked for, keeps a connection and a result as long as it likes.
"""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_HEAD: Final = 64 * 1024
"""Bytes of a request's line and headers, beyond the piece in which they began."""
REQUEST_SECONDS: Final = 60.0
"""From the first byte of a request to its last, and from the beginning of a connection to its first request."""
STALL_SECONDS: Final = 60.0
"""A client that takes nothing of its answer for so long is gone."""
_TOO_LARGE: Final = STATUS_LINE[431] + b"connection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """See the module. tests/unit/proxy/fastlane/test_bounds.py holds it to that."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._heads = 0
        """Of requests that have begun."""
        self._in_head = False
        self._head_size = 0
        self._incomplete_since: float | None = self.loop.time()
        """Since when a request is awaited or not whole."""
        self._unread: tuple[int, float] | None = None
        """Bytes that wait for a client that does not read fast enough, and since when they are as many."""
        self._watch: asyncio.TimerHandle | None = self.loop.call_later(REQUEST_SECONDS, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        super().connection_lost(exc)

    # What comes

    def data_received(self, data: bytes) -> None:
        before = self._heads
        super().data_received(data)
        if self._in_head:
            self._head_size = self._head_size + len(data) if before == self._heads else 0
            if self._head_size > MAX_HEAD and not self.transport.is_closing():
                if self.cycle is None or self.cycle.response_complete:
                    self.transport.write(_TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        self.begun()
        super().on_message_begin()

    def begun(self) -> None:
        """The first byte of a request has come."""
        self._heads += 1
        self._in_head = True
        self._incomplete_since = self.loop.time()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._incomplete_since = None
        super().on_message_complete()

    # What goes

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.transport.get_write_buffer_size(), self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread = None

    # Time

    def _check(self) -> None:
        self._watch = None
        if self.transport.is_closing() and self._unread is None:
            return
        now = self.loop.time()
        since = self._incomplete_since
        if since is not None and now - since >= REQUEST_SECONDS and not self.flow.read_paused:
            self.transport.abort()
            return
        if self._unread is not None:
            size = self.transport.get_write_buffer_size()
            if size != self._unread[0]:
                self._unread = size, now
            elif now - self._unread[1] >= STALL_SECONDS:
                self.transport.abort()
                return
        self._watch = self.loop.call_later(REQUEST_SECONDS / 4, self._check)
