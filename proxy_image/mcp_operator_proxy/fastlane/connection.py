"""One HTTP/1.1 connection to a backend: one exchange at a time, told of what comes as it comes."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol, cast

import httptools

from mcp_operator_proxy.fastlane.repeats import Repeats

logger = logging.getLogger(__name__)

MAX_HEADERS: Final = 64 * 1024
"""Bytes of a response's headers."""

FORGOTTEN_SECONDS: Final = 5.0
"""A response that nobody waits for any more may take so long to end."""


class Malformed(Exception):
    """What came is no HTTP response, or its headers are too large."""


class Receiver(Protocol):
    """Whoever waits for a response. After `ended` or `lost` nothing more comes."""

    def headed(self, status: int, headers: dict[bytes, bytes]) -> None:
        """Status and headers, their names in lower case."""
        ...

    def received(self, chunk: bytes) -> None: ...

    def ended(self) -> None: ...

    def lost(self, error: Exception | None) -> None:
        """The connection ended before the response did."""
        ...


class BackendConnection(asyncio.Protocol):
    """`free` is called when a response is complete and the next request may be sent, `gone` when the connection is closed."""

    __slots__ = (
        "_alone",
        "_body",
        "_close_delimited",
        "_free",
        "_gone",
        "_headers",
        "_informational",
        "_parser",
        "_receiver",
        "_repeats",
        "_size",
        "_under_way",
        "idle_since",
        "transport",
    )

    def __init__(
        self, free: "Callable[[BackendConnection], None]", gone: "Callable[[BackendConnection], None]"
    ) -> None:
        self._free = free
        self._gone = gone
        self._parser = httptools.HttpResponseParser(self)
        self._receiver: Receiver | None = None
        self._headers: dict[bytes, bytes] = {}
        self._size = 0
        self._close_delimited = False
        self._informational = False
        self._repeats: Repeats[dict[bytes, bytes]] = Repeats()
        """Headers of answers with status 200."""
        self._under_way = False
        """A response has begun and not ended."""
        self._alone: bytes | None = None
        """What has just come, where no response was under way before it."""
        self._body = b""
        """The last piece of a response's body."""
        self.idle_since = 0.0
        self.transport: asyncio.Transport

    def send(self, receiver: Receiver, request: bytes) -> None:
        self._receiver = receiver
        self.transport.write(request)

    @property
    def closed(self) -> bool:
        return self.transport.is_closing()

    def abort(self) -> None:
        """Close at once; its receiver hears nothing more."""
        self._receiver = None
        self.transport.abort()

    def give_up(self) -> None:
        """Close a connection that nobody has used; it may not have been opened yet."""
        if (transport := getattr(self, "transport", None)) is not None:
            transport.abort()

    def forget(self) -> None:
        """Let the response end without its receiver, which has what it wanted."""
        self._receiver = _NOBODY

    def close(self) -> None:
        self.transport.close()

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's does not derive from it

    def data_received(self, data: bytes) -> None:
        receiver = self._receiver
        try:
            if not self._under_way and receiver is not None and receiver is not _NOBODY:
                if (found := self._repeats.find(data)) is not None:
                    self._again(receiver, *found)
                    return
                self._alone = data
            self._parser.feed_data(data)
            self._alone = None
            if self._receiver is _NOBODY:
                asyncio.get_running_loop().call_later(FORGOTTEN_SECONDS, self._reap)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, Malformed) as error:
            cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else None
            self._break(receiver, cause if isinstance(cause, Exception) else error)
        except Exception as error:  # noqa: BLE001 - it is logged there
            self._break(receiver, error)

    def _break(self, receiver: Receiver | None, error: Exception) -> None:
        """Give up on what cannot be handled."""
        lost: Exception = error
        if isinstance(error, httptools.HttpParserError | httptools.HttpParserUpgrade | Malformed):
            lost = Malformed(str(error))
        else:
            logger.error("an answer could not be handled", exc_info=error)
        self._receiver = None
        self.transport.abort()
        if receiver is not None:  # also where it has been told of the end, and broke over that
            receiver.lost(lost)

    def _again(self, receiver: Receiver, headers: dict[bytes, bytes], body: bytes) -> None:
        """A whole response, whose head has come before."""
        receiver.headed(200, headers)
        if self._receiver is not None:
            receiver.received(body)
        self._complete(keep_alive=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone(self)
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        if self._close_delimited and exc is None:
            receiver.ended()
        else:
            receiver.lost(exc)

    def _reap(self) -> None:
        if self._receiver is _NOBODY:
            self.abort()

    # The parser's side

    def on_message_begin(self) -> None:
        if self._receiver is None:
            raise Malformed("a response that nobody asked for")
        self._under_way = True
        self._headers = {}
        self._size = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value)
        if self._size > MAX_HEADERS:
            raise Malformed("headers too large")
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        self._informational = status < 200
        if self._informational or self._receiver is None:
            return
        headers = self._headers
        self._close_delimited = (
            b"content-length" not in headers and b"transfer-encoding" not in headers and status not in (204, 304)
        )
        self._receiver.headed(status, headers)

    def on_body(self, body: bytes) -> None:
        self._body = body
        if self._receiver is not None:
            self._receiver.received(body)

    def on_message_complete(self) -> None:
        self._under_way = False
        if self._informational:
            return
        keep_alive = self._parser.should_keep_alive() and not self._close_delimited
        body, self._body = self._body, b""
        counted = b"content-length" in self._headers and b"transfer-encoding" not in self._headers
        if keep_alive and counted and self._alone is not None and self._parser.get_status_code() == 200:
            self._repeats.keep(self._alone, body, self._headers)
        self._complete(keep_alive=keep_alive)

    def _complete(self, *, keep_alive: bool) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is None:  # given up within this response
            return
        if keep_alive and not self.transport.is_closing():
            self._free(self)
        else:
            self.transport.close()
        receiver.ended()


class _Nobody:
    def headed(self, status: int, headers: dict[bytes, bytes]) -> None: ...

    def received(self, chunk: bytes) -> None: ...

    def ended(self) -> None: ...

    def lost(self, error: Exception | None) -> None: ...


_NOBODY: Final = _Nobody()
