"""What a server writes to standard error: kept in a bounded ring, and shown at a bounded rate."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

LINES: Final = 1000
BYTES: Final = 256 * 1024
RATE: Final = 20.0
BURST: Final = 200


class LogLine(NamedTuple):
    """One line of standard error, redacted. `at` is in seconds since the epoch."""

    at: float
    pid: int
    text: str


class ServerLog:
    """The newest lines of all processes of one server, at most `lines` and `size` bytes of them.

    `show` gets each line when it comes.
    """

    def __init__(self, show: Callable[[str], None], *, lines: int = LINES, size: int = BYTES) -> None:
        self._show = show
        self._most = lines
        self._size = size
        self._held = 0
        self._lines: deque[LogLine] = deque()

    def add(self, pid: int, text: str) -> None:
        self._lines.append(LogLine(time.time(), pid, text))
        self._held += len(text.encode())
        while len(self._lines) > self._most or (self._held > self._size and len(self._lines) > 1):
            self._held -= len(self._lines.popleft().text.encode())
        self._show(text)

    def tail(self, lines: int) -> list[LogLine]:
        """The newest, oldest first."""
        return list(self._lines)[-lines:] if lines > 0 else []


@dataclass(slots=True)
class Throttle:
    """Passes `rate` lines a second on to `show`, `burst` of them at once, and says how many it left out."""

    show: Callable[[str], None]
    rate: float = RATE
    burst: int = BURST
    clock: Callable[[], float] = time.monotonic
    _tokens: float = field(init=False)
    _at: float = field(init=False)
    _omitted: int = 0

    def __post_init__(self) -> None:
        self._tokens, self._at = float(self.burst), self.clock()

    def __call__(self, text: str) -> None:
        now = self.clock()
        self._tokens = min(float(self.burst), self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1.0:
            self._omitted += 1
            return
        self._tokens -= 1.0
        if self._omitted:
            self.show(f"({self._omitted} lines left out)")
            self._omitted = 0
        self.show(text)
