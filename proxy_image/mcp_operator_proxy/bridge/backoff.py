"""When to start a server again after it ended (pure)."""

from dataclasses import dataclass
from typing import Final

CRASH_LOOP: Final = 3
"""Failures in a row after which it is called a crash loop. It is still started again, ever more rarely."""


@dataclass(slots=True)
class Backoff:
    """Doubles from `first` to `longest` seconds with each failure in a row; a run of `longest` seconds ends the row."""

    first: float
    longest: float
    failures: int = 0

    @property
    def crash_loop(self) -> bool:
        return self.failures >= CRASH_LOOP

    def next(self, ran: float) -> float:
        """Seconds to wait before the next start, after the server was ready for `ran` seconds (0: never)."""
        if ran >= self.longest:
            self.failures = 0
        self.failures += 1
        return float(min(self.first * 2.0 ** min(self.failures - 1, 30), self.longest))
