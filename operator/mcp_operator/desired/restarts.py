"""When a hosted server that fails its probes is restarted: pure, with growing pauses and a limit."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

PAUSE: Final = timedelta(seconds=10)
"""Pause before the second restart; each later one waits twice as long, up to `LONGEST_PAUSE`."""
LONGEST_PAUSE: Final = timedelta(minutes=5)
_DOUBLINGS: Final = 10
"""More than it takes to `LONGEST_PAUSE`, and less than a timedelta overflows at."""
FORGIVEN_AFTER: Final = timedelta(minutes=10)
"""A server that has been healthy for so long after a restart starts counting anew."""


@dataclass(frozen=True, slots=True)
class Restarts:
    """How often the operator restarted a server, and when last; what the status keeps."""

    count: int = 0
    last: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The restarts as they shall be now, and in how many seconds to decide again (None: not by time)."""

    restarts: Restarts
    again_after: float | None = None
    in_vain: bool = False
    """The limit is reached, and it still does not answer."""


def decide(
    past: Restarts,
    *,
    deployed: bool,
    healthy: bool | None,
    limit: int,
    now: datetime,
    up_since: datetime | None = None,
    patience: timedelta = timedelta(0),
) -> Decision:
    """Restart a server whose pods are up but which does not answer, unless it was restarted `limit` times in vain.

    While its pods are not up the kubelet is already at it, and a restart would only start its backoff over. Pods that are
    up since `up_since` have `patience` to answer: failed probes of the pods before them say nothing about these.
    With the limit 0 nothing is ever restarted, and nothing is in vain.
    """
    if healthy:
        if past.count == 0 or past.last is None:
            return Decision(past)
        left = past.last + FORGIVEN_AFTER - now
        if left <= timedelta(0):
            return Decision(Restarts(0, past.last))
        return Decision(past, left.total_seconds())
    if healthy is None or not deployed or limit == 0:
        return Decision(past)
    left = max(_pause(past, now), up_since + patience - now if up_since else timedelta(0))
    if left > timedelta(0):
        return Decision(past, left.total_seconds())
    if past.count >= limit:
        return Decision(past, in_vain=True)
    return Decision(Restarts(past.count + 1, now.replace(microsecond=0)))


def _pause(past: Restarts, now: datetime) -> timedelta:
    """What is left of the pause after the last restart."""
    if past.last is None or past.count == 0:
        return timedelta(0)
    doublings = min(past.count - 1, _DOUBLINGS)
    return past.last + min(PAUSE * (1 << doublings), LONGEST_PAUSE) - now
