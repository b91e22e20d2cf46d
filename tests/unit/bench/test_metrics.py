"""The figures of `bench.metrics`."""

import pytest

from bench.metrics import cost


def test_the_ratio_is_that_of_pairs() -> None:
    found = cost("legacy", [(1.0e-4, 1.0e-4), (2.2e-4, 2.0e-4), (0.9e-4, 1.0e-4), (3.0e-4, 1.0e-4)])
    assert found.ratio == pytest.approx(1.05)
    assert (found.low, found.high) == (pytest.approx(0.9), pytest.approx(1.1))
    assert (found.with_us, found.without_us) == (pytest.approx(160), pytest.approx(100))
