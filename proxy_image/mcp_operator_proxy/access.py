"""The access log: one JSON line for each request, on standard output, apart from the log of events.

A request costs an append; the lines are written by a timer in a thread of its own, so that a slow reader of the output
holds up nobody. What stands in a line: who called what on which route, how it ended and how long it took. Never an
argument, a result, a credential or a session id.
"""

import asyncio
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

import msgspec

logger = logging.getLogger(__name__)
FLUSH_SECONDS: Final = 0.25
MAX_PENDING: Final = 50_000
"""Lines that wait for a slow reader; what comes beyond is counted and not kept."""
MAX_NAME: Final = 256
MAX_TRACE: Final = 64
L = TypeVar("L")


class Line(msgspec.Struct, omit_defaults=True, tag_field="message", tag="request", gc=False):
    """One request. `seconds` is from the whole request to the end of its response."""

    time: float | datetime
    """Seconds since the epoch; written as RFC 3339."""
    route: str | None = None
    http: str = ""
    """The HTTP method."""
    status: int = 0
    seconds: float = -1.0
    method: str | None = None
    """The JSON-RPC method."""
    name: str | None = None
    """Tool, prompt or URI, as the client named it; at most `MAX_NAME` characters are written."""
    outcome: str | None = None
    lane: bool = False
    server: str | None = None
    principal: str | None = None
    client: str | None = None
    trace: str | None = None
    """The `traceparent` that came with it."""


class _Dropped(msgspec.Struct, tag_field="message", tag="access log lines dropped"):
    time: datetime
    lines: int


def stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


class LineLog(Generic[L]):
    """`write` takes whole lines and may block. `close` it in the end: all that was added is written by then.

    `encode` makes them of what was added and of how many were dropped; `name` is for the log.
    """

    def __init__(self, name: str, encode: Callable[[list[L], int], bytes], write: Callable[[bytes], None]) -> None:
        self._name = name
        self._encode = encode
        self._write = write
        self._lines: list[L] = []
        self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None

    def add(self, line: L) -> None:
        if len(self._lines) >= MAX_PENDING:
            self._dropped += 1
            return
        self._lines.append(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        self._timer = None
        if self._writing is not None:  # a slow reader: what has gathered goes when it is done
            return
        lines, self._lines = self._lines, []
        dropped, self._dropped = self._dropped, 0
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, self._put, lines, dropped)
        self._writing.add_done_callback(self._written)

    def _written(self, _: "asyncio.Future[None]") -> None:
        self._writing = None
        if self._lines and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _put(self, lines: list[L], dropped: int) -> None:
        try:
            self._write(self._encode(lines, dropped))
        except (OSError, ValueError) as error:  # nobody reads it any more
            logger.warning("the %s cannot be written", self._name, extra={"error": type(error).__name__})

    async def close(self) -> None:
        self._disarm()
        if self._writing is not None:
            await asyncio.wait([self._writing])
        self._disarm()
        lines, self._lines = self._lines, []
        if lines or self._dropped:
            self._put(lines, self._dropped)


class AccessLog(LineLog[Line]):
    """See the module."""

    def __init__(self, write: Callable[[bytes], None] = stdout) -> None:
        super().__init__("access log", encode, write)


_ENCODER: Final = msgspec.json.Encoder()


def encode(lines: list[Line], dropped: int = 0) -> bytes:
    """The lines as JSON, one object a line. They are made ready in place."""
    for line in lines:
        if isinstance(line.time, float):
            line.time = datetime.fromtimestamp(line.time, UTC)
        line.seconds = round(line.seconds, 6)
        if line.name is not None and len(line.name) > MAX_NAME:
            line.name = line.name[:MAX_NAME]
        if line.trace is not None and len(line.trace) > MAX_TRACE:
            line.trace = line.trace[:MAX_TRACE]
    return _ENCODER.encode_lines([*lines, _Dropped(datetime.now(UTC), dropped)] if dropped else lines)
