"""How long calls take: percentiles of the newest ones. Pure."""

from collections.abc import Iterable, Sequence
from math import ceil

from mcp_operator_proxy.inspector.models import Latency


def latency(seconds: Iterable[float]) -> Latency:
    """`seconds` of calls, the newest last. Percentiles are the nearest rank."""
    found = list(seconds)
    if not found:
        return Latency()
    ordered = sorted(found)
    return Latency(last=_milliseconds(found[-1]), p50=_rank(ordered, 50), p95=_rank(ordered, 95))


def _rank(ordered: Sequence[float], percent: int) -> float:
    return _milliseconds(ordered[max(0, ceil(len(ordered) * percent / 100) - 1)])


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
