"""Statistics of measurements. Pure."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile, `share` from 0 to 1; NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One measurement: `calls` answered rightly in `seconds`; latencies in seconds; CPU seconds of the watched processes."""

    calls: int
    seconds: float
    p50: float
    p99: float
    longest: float
    cpu_seconds: float
    errors: int = 0
    problems: tuple[str, ...] = ()
    """Some of the errors, in words."""

    @property
    def rps(self) -> float:
        return self.calls / self.seconds if self.seconds else 0.0

    @property
    def cpu_ms_per_call(self) -> float:
        return self.cpu_seconds * 1000 / self.calls if self.calls else math.nan


@dataclass(frozen=True, kw_only=True)
class Row:
    """What `build/bench/proxy.json` holds of one target at one concurrency: medians of its samples."""

    target: str
    front: str
    backend: str
    concurrency: int
    rps: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_ms_per_call: float | None = None
    backend_requests_per_call: float | None = None
    errors: int = 0
    reason: str | None = field(default=None)
    """Why there are errors, in words."""


def row(
    samples: Sequence[Sample], *, target: str, front: str, backend: str, concurrency: int, backend_requests: int
) -> Row:
    """Medians over `samples`, each figure by itself; errors are added up."""

    def median(values: Sequence[float], digits: int) -> float | None:
        known = [value for value in values if not math.isnan(value)]
        return round(statistics.median(known), digits) if known else None

    calls = sum(sample.calls for sample in samples)
    problems = [problem for sample in samples for problem in sample.problems]
    return Row(
        target=target,
        front=front,
        backend=backend,
        concurrency=concurrency,
        rps=median([s.rps for s in samples], 1),
        p50_ms=median([s.p50 * 1000 for s in samples], 4),
        p99_ms=median([s.p99 * 1000 for s in samples], 4),
        cpu_ms_per_call=median([s.cpu_ms_per_call for s in samples], 4),
        backend_requests_per_call=round(backend_requests / calls, 3) if calls else None,
        errors=sum(s.errors for s in samples),
        reason=problems[0] if problems else None,
    )
