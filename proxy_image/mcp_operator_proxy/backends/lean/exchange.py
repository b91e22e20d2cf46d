"""One HTTP exchange with a backend: a prepared request, and the JSON messages that come back, also from an event stream."""

import asyncio
import socket
from collections.abc import Callable

from mcp_operator_proxy.backends.http import MAX_ANSWER, NOTICE_DEAD_PEERS
from mcp_operator_proxy.fastlane.connection import BackendConnection
from mcp_operator_proxy.fastlane.pool import Pool
from mcp_operator_proxy.fastlane.sse import Events, EventTooLarge


class Unplain(Exception):
    """Something that this path does not judge: the client library's session is to ask again."""


class OverBudget(Unplain):
    """More came than the `limit` of an exchange allows."""


class Exchange:
    """`on_event` is given the data of each event of a stream and says whether that was the last one wanted.

    `limit` is how many bytes may come, also as a stream; without it, a body may have `MAX_ANSWER` and a stream go on for ever.

    After `run`: `status`, `headers` (names in lower case) and `body`, which is that of a response that is no event stream.
    """

    __slots__ = (
        "_chunks",
        "_connection",
        "_done",
        "_events",
        "_limit",
        "_on_event",
        "headers",
        "size",
        "status",
        "streamed",
    )

    def __init__(self, on_event: Callable[[bytes], bool] | None = None, *, limit: int | None = None) -> None:
        self._on_event = on_event
        self._limit = limit
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection: BackendConnection | None = None
        self._events: Events | None = None
        self._chunks: list[bytes] = []
        self.size = 0
        """Bytes that have come, without the headers."""
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.streamed = False
        """The answer was, or is, an event stream."""

    @property
    def body(self) -> bytes:
        return b"".join(self._chunks)

    @property
    def kind(self) -> bytes:
        return self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()

    @property
    def last_id(self) -> bytes:
        """The last event's id, by which a stream can be resumed."""
        return self._events.last_id if self._events is not None else b""

    async def run(self, pool: Pool, request: bytes) -> None:
        """Send `request` and wait for the end, or for the last event that is wanted.

        Raises:
            OSError, ssl.SSLError, httpx2.ConnectTimeout: there was no connection.
            Unplain: the connection broke, or what came is no HTTP response.
        """
        connection = pool.take() or await self._connected(pool)
        self._connection = connection
        connection.send(self, request)
        try:
            await self._done
        except BaseException:
            connection.abort()
            raise

    async def _connected(self, pool: Pool) -> BackendConnection:
        ready: asyncio.Future[BackendConnection] = asyncio.get_running_loop().create_future()
        opening = pool.connect(
            lambda connection: connection.abort() if ready.done() else ready.set_result(connection),
            lambda error: None if ready.done() else ready.set_exception(error),
        )
        try:
            return await ready
        except asyncio.CancelledError:
            opening.cancel()
            raise

    # The connection's side

    def headed(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.status, self.headers = status, headers
        if headers.get(b"content-encoding", b"identity") != b"identity":
            self._fail(Unplain("a content encoding that was not asked for"))
        elif status == 200 and self._on_event is not None and self.kind == b"text/event-stream":
            self.streamed, self._events = True, Events()
            if self._connection is not None:
                _notice_a_dead_peer(self._connection)

    def received(self, chunk: bytes) -> None:
        if self._done.done():
            return
        self.size += len(chunk)
        body = self._events is None or self._on_event is None
        limit = MAX_ANSWER if self._limit is None and body else self._limit
        if limit is not None and self.size > limit:
            self._fail(Unplain("too large") if self._limit is None else OverBudget("too large"))
            return
        if self._events is None or self._on_event is None:
            self._chunks.append(chunk)
            return
        try:
            for data in self._events.feed(chunk):
                if self._on_event(data):
                    if self._connection is not None:
                        self._connection.forget()
                    self.ended()
                    return
        except (EventTooLarge, Unplain) as error:
            self._fail(error if isinstance(error, Unplain) else Unplain("too large"))

    def ended(self) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def lost(self, error: Exception | None) -> None:
        self._fail(Unplain(f"the connection broke: {type(error).__name__}"))

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)


def _notice_a_dead_peer(connection: BackendConnection) -> None:
    sock = connection.transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        for level, option, value in NOTICE_DEAD_PEERS:
            sock.setsockopt(level, option, value)
