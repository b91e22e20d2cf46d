"""Statistics of measurements. Pure."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields


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
    backend_requests: int | None = None
    """What the backend counted meanwhile; None where nobody asked it."""
    errors: int = 0
    problems: tuple[str, ...] = ()
    """Some of the errors, in words."""

    @property
    def rps(self) -> float:
        return self.calls / self.seconds if self.seconds else 0.0

    @property
    def cpu_ms_per_call(self) -> float:
        return self.cpu_seconds * 1000 / self.calls if self.calls else math.nan

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "rps": self.rps, "cpu_ms_per_call": self.cpu_ms_per_call})

    @classmethod
    def from_json(cls, text: str) -> "Sample":
        """What `to_json` made."""
        data = json.loads(text)
        names = {field.name for field in fields(cls)}
        return cls(**{name: tuple(v) if name == "problems" else v for name, v in data.items() if name in names})


def failed(problem: str) -> Sample:
    """The measurement of a target that could not even be asked."""
    nan = math.nan
    return Sample(calls=0, seconds=0, p50=nan, p99=nan, longest=nan, cpu_seconds=0, errors=1, problems=(problem,))


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
    reason: str | None = None
    """Why there are errors, in words."""


def row(samples: Sequence[Sample], *, target: str, front: str, backend: str, concurrency: int) -> Row:
    """Medians over `samples`, each figure by itself; errors are added up, requests per call counted over all."""

    def median(values: Sequence[float], digits: int) -> float | None:
        known = [value for value in values if not math.isnan(value)]
        return round(statistics.median(known), digits) if known else None

    counted = [(s.backend_requests, s.calls) for s in samples if s.backend_requests is not None]
    calls = sum(of for _, of in counted)
    problems = [problem for sample in samples for problem in sample.problems]
    return Row(
        target=target,
        front=front,
        backend=backend,
        concurrency=concurrency,
        rps=median([s.rps for s in samples if s.calls], 1),
        p50_ms=median([s.p50 * 1000 for s in samples], 4),
        p99_ms=median([s.p99 * 1000 for s in samples], 4),
        cpu_ms_per_call=median([s.cpu_ms_per_call for s in samples], 4),
        backend_requests_per_call=round(sum(n for n, _ in counted) / calls, 3) if calls else None,
        errors=sum(s.errors for s in samples),
        reason=problems[0] if problems else None,
    )
