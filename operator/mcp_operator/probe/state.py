"""Folds probe results into the state of a server. Pure.

Only a change is worth a write to a status: an unchanged world leaves the published part of the state as it is, however
often it is probed and however much its latency wavers.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from mcp_operator.probe.facts import ProbeResult, ServerFacts
from mcp_operator_proxy.report import ErrorReport

SAMPLES: Final = 5
REST: Final = timedelta(minutes=10)
"""How long a settled latency stands before it is looked at again."""
_BUCKETS: Final = tuple(step * 10.0**power for power in range(-6, 4) for step in (1, 2, 5))
"""Seconds: …, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, …, from a microsecond to hours."""
_BUCKETS_TO_MOVE: Final = 2
_VARIABLE: Final = re.compile(r"(?<!\S)(?<!HTTP )(?<!error )\S*\d\S*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerHealth:
    """What is known of a server. Two are equal when a status would show the same; only `last_probe` and `samples` may differ."""

    healthy: bool | None = None
    """None, unknown, until the first good probe or the threshold of failures; False after that many failures in a row, until the
    threshold of good probes in a row."""
    recovering: bool = False
    """It is unhealthy, and the last probe was good: more of them make it healthy."""
    time: datetime | None = field(default=None, compare=False)
    """When the probe ended that last changed this state."""
    consecutive_failures: int = 0
    """Counted up to the threshold."""
    error: ErrorReport | None = None
    """Why the last probe failed; None after a good one."""
    latency_seconds: float | None = None
    """Median time of recent good probes, see `published_latency`."""
    latency_time: datetime | None = field(default=None, compare=False)
    """When that was settled: from a whole set of samples."""
    facts: ServerFacts | None = None
    """What the last good probe found; kept while the server fails."""
    last_probe: datetime | None = field(default=None, compare=False)
    """When the last probe ended, whatever it found."""
    samples: tuple[float, ...] = field(default=(), compare=False, repr=False)
    """Seconds that the latest good probes took, at most `SAMPLES` of them."""
    successes: int = field(default=0, compare=False)
    """Good probes in a row, counted while it recovers."""
    doubted: bool = field(default=False, compare=False)
    """Others say that they do not reach it, and no probe has begun since: what the last one found may be out of date."""


def fold(
    state: ServerHealth, result: ProbeResult, threshold: int, success_threshold: int = 1, *, doubted: bool = False
) -> tuple[ServerHealth, bool]:
    """The state after one more probe, and whether it is worth telling.

    `threshold`: failures in a row that make it unhealthy; `success_threshold`: good probes in a row that mend that;
    `doubted`: others began to say that they do not reach it while this probe was under way. A doubt that ends is told, also
    where nothing else is new.
    """
    if threshold < 1 or success_threshold < 1:
        raise ValueError(f"thresholds must be at least 1, not {threshold} and {success_threshold}")
    new = replace(
        _failed(state, result.error, threshold) if result.error else _succeeded(state, result, success_threshold),
        last_probe=result.time,
        doubted=doubted,
    )
    if new == state:
        return new, state.doubted and not doubted
    return replace(new, time=result.time), True


def _failed(state: ServerHealth, error: ErrorReport, threshold: int) -> ServerHealth:
    failures = min(state.consecutive_failures + 1, threshold)
    return replace(
        state,
        healthy=False if failures >= threshold else state.healthy,
        consecutive_failures=failures,
        error=latest_error(state.error, error),
        recovering=False,
        successes=0,
    )


def _succeeded(state: ServerHealth, result: ProbeResult, threshold: int) -> ServerHealth:
    successes = state.successes + 1 if state.healthy is False else 0
    recovering = state.healthy is False and successes < threshold
    samples = (*state.samples, result.seconds)[-SAMPLES:]
    looked = len(samples) == SAMPLES and (state.latency_time is None or result.time - state.latency_time >= REST)
    return replace(
        state,
        healthy=not recovering,
        recovering=recovering,
        successes=successes if recovering else 0,
        consecutive_failures=0,
        error=None,
        facts=result.facts,
        samples=samples,
        latency_seconds=published_latency(state.latency_seconds, samples)
        if looked or state.latency_seconds is None
        else state.latency_seconds,
        latency_time=result.time if looked else state.latency_time,
    )


def known_before(latency: float, now: datetime) -> ServerHealth:
    """The state of a server of which only its published latency is known, in seconds: from before a restart."""
    return ServerHealth(latency_seconds=latency, latency_time=now)


def settling(state: ServerHealth) -> bool:
    """Whether a few more probes soon would tell the server's usual latency: its first one is that of a cold start."""
    return state.healthy is True and state.error is None and len(state.samples) < SAMPLES


def published_latency(published: float | None, samples: tuple[float, ...]) -> float:
    """The latency to show, in seconds to two digits: the median of `samples`, or what is shown while that is near enough.

    It is looked at with the first sample, with the first whole set of them, and every `REST` after that: a machine that is
    now busy and now idle is no reason to write a status.
    """
    middle = median(samples)
    if published is not None and abs(_bucket(middle) - _bucket(published)) < _BUCKETS_TO_MOVE:
        return published
    return float(f"{middle:.2g}")


def latest_error(old: ErrorReport | None, new: ErrorReport | None) -> ErrorReport | None:
    """`new`, in the words of `old` where both say the same."""
    return old if same_error(old, new) else new


def same_error(old: ErrorReport | None, new: ErrorReport | None) -> bool:
    """Whether two errors say the same, but for numbers, times and ids that a server puts into its words."""
    if old is None or new is None:
        return old is new
    return old.error_class == new.error_class and _VARIABLE.sub("#", old.message) == _VARIABLE.sub("#", new.message)


def _bucket(seconds: float) -> int:
    return bisect_right(_BUCKETS, seconds)
