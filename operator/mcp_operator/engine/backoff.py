"""Exponential backoff with jitter: what every retry in the engine waits."""

import random
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Backoff:
    """`delay(n)` is `base * 2**n` seconds, at most `cap`, less a random share of up to `jitter` (0 to 1) of it."""

    base: float = 0.2
    cap: float = 300.0
    jitter: float = 0.25
    rng: random.Random = field(default_factory=random.Random, repr=False, compare=False)

    def delay(self, failures: int) -> float:
        """Seconds to wait after `failures` earlier failures in a row (0: the first)."""
        full = min(self.cap, self.base * 2.0 ** min(failures, 64))
        return full * (1 - self.jitter * self.rng.random())
