"""When to start a server again after it ended (pure)."""

from dataclasses import dataclass
from typing import Final

CRASH_LOOP: Final = 3
"""Failures in a row after which it is called a crash loop, unless told otherwise."""


@dataclass(slots=True)
class Backoff:
    """Doubles from `first` to `longest` seconds with each failure in a row; a run of `settled` seconds ends the row.

    From the failure number `limit` on it is a crash loop. Then each further start waits for `cool_down` seconds; where that
    is 0, it comes ever more rarely, as before.
    """

    first: float
    longest: float
    limit: int = CRASH_LOOP
    cool_down: float = 0.0
    settled: float | None = None
    """As long as `longest`, where it is None."""
    failures: int = 0

    @property
    def crash_loop(self) -> bool:
        return self.failures >= self.limit

    def next(self, ran: float) -> float:
        """Seconds to wait before the next start, after the server was ready for `ran` seconds (0: never)."""
        if ran >= (self.longest if self.settled is None else self.settled):
            self.failures = 0
        self.failures += 1
        if self.crash_loop and self.cool_down:
            return self.cool_down
        return float(min(self.first * 2.0 ** min(self.failures - 1, 30), self.longest))

    def reset(self) -> None:
        """Forget the failures: something has changed."""
        self.failures = 0
