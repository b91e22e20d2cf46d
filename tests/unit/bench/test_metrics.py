"""The figures of `bench.metrics`, and that the counting it compares with can be switched off."""

import pytest

from bench import uncounted
from bench.metrics import cost
from mcp_operator_proxy.tally import Tallies
from mcp_operator_proxy.usage import Usage


def test_the_ratio_is_that_of_pairs() -> None:
    found = cost("legacy", [(1.0e-4, 1.0e-4), (2.2e-4, 2.0e-4), (0.9e-4, 1.0e-4), (3.0e-4, 1.0e-4)])
    assert found.ratio == pytest.approx(1.05)
    assert (found.low, found.high) == (pytest.approx(0.9), pytest.approx(1.1))
    assert (found.with_us, found.without_us) == (pytest.approx(160), pytest.approx(100))


def test_counting_is_switched_off_and_on() -> None:
    usage, tallies = Usage().of("ns/a", "t"), Tallies()
    tally, added = tallies.of("/mcp", "tools/call"), tallies.added["lane"]
    uncounted.off()
    try:
        usage.add("ok", 0.1, 1.0)
        tally.add("ok", 0.1)
        added.add(0.1)
    finally:
        uncounted.on()
    assert (usage.calls, tally.outcomes, added.seconds) == (0, {}, 0.0)
    usage.add("ok", 0.1, 1.0)
    tally.add("ok", 0.1)
    added.add(0.1)
    assert (usage.calls, tally.outcomes, added.seconds) == (1, {"ok": 1}, 0.1)
