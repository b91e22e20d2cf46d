"""How long to wait before a server is connected to again. Pure but for its jitter."""

import random
from collections.abc import Callable
from typing import Final

from mcp_operator_proxy.config import Retry

SETTLED_SECONDS: Final = 5.0
"""Between attempts once those of `Retry` are used up: a server that is down is looked for, but not in a hurry."""
_MOST_SECONDS: Final = 60.0
_LEAST_SHARE: Final = 0.8


def pause(retry: Retry, failures: int, *, random_share: Callable[[], float] = random.random) -> float:
    """Seconds until the next attempt, after `failures` in a row (at least 1).

    `backoff_seconds`, then each time twice as long, up to a minute, for `attempts` attempts; from then on `SETTLED_SECONDS`, or
    `backoff_seconds` where that is more. A random part, up to a fifth, is taken off, so that replicas that lost
    a server together do not come back together.
    """
    used_up = failures >= retry.attempts
    seconds = SETTLED_SECONDS if used_up else min(retry.backoff_seconds * 2.0 ** (failures - 1), _MOST_SECONDS)
    return spread(max(seconds, retry.backoff_seconds), random_share=random_share)


def spread(seconds: float, *, random_share: Callable[[], float] = random.random) -> float:
    """`seconds` less a random part, up to a fifth: what was begun together does not go on together."""
    return seconds * (_LEAST_SHARE + (1 - _LEAST_SHARE) * random_share())
