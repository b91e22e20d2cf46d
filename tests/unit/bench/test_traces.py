"""The figures of the benchmark of traces."""

import pytest

from bench.traces import costs


def test_ratios_are_taken_within_a_round() -> None:
    quiet = {"off": 1e-4, "unsampled": 1.1e-4, "sampled": 1.5e-4}
    busy = {mode: 3 * spent for mode, spent in quiet.items()}
    unsampled, sampled = costs("modern", [quiet, busy, quiet])
    assert (unsampled.mode, sampled.mode) == ("unsampled", "sampled")
    assert (unsampled.ratio, unsampled.low, unsampled.high) == pytest.approx((1.1, 1.1, 1.1))
    assert sampled.ratio == pytest.approx(1.5)
    assert (sampled.us, sampled.off_us, sampled.rounds) == (pytest.approx(150), pytest.approx(100), 3)
