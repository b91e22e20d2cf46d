"""Durations and quantities, as Go reads them."""

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.api import scalars
from mcp_operator.api.constraints import literal, matching
from mcp_operator.api.scalars import amount, between, seconds


@pytest.mark.parametrize(
    ("duration", "expected"),
    [("500ms", 0.5), ("30s", 30), ("1m30s", 90), ("1.5h", 5400), ("0s", 0), ("1h1m1s1ms", 3661.001)],
)
def test_seconds(duration: str, expected: float) -> None:
    assert seconds(duration) == pytest.approx(expected)


@pytest.mark.parametrize("duration", ["", "30", "s", "-1s", "+1s", "1d", "1 s", "1m 30s", "30s\n", "1µs", "1e3s"])
def test_refuses_what_is_no_duration(duration: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        seconds(duration)


def test_between_includes_its_bounds() -> None:
    rule = between("100ms", "1m")
    assert [text for text in ("99ms", "100ms", "0.1s", "60s", "1m", "60001ms", "soon") if rule.holds(text)] == [
        "100ms",
        "0.1s",
        "60s",
        "1m",
    ]


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (2, "2"),
        ("2", "2"),
        ("+2", "2"),
        ("500m", "0.5"),
        ("64Mi", str(64 * 1024**2)),
        ("64M", "64000000"),
        ("1.5Gi", str(3 * 2**29)),
        (".5k", "500"),
        ("1E", str(10**18)),
        ("1E3", "1000"),
        ("1e3", "1000"),
        ("1Ei", str(2**60)),
        ("100n", "0.0000001"),
        ("5.", "5"),
        ("0", "0"),
    ],
)
def test_amount(quantity: int | str, expected: str) -> None:
    assert amount(quantity) == Decimal(expected)


@pytest.mark.parametrize("quantity", ["", "-1", "-1Mi", "64MiB", "64 Mi", "1K", "Mi", "1e", "0x10", "1\n", "½"])
def test_refuses_what_is_no_quantity(quantity: str) -> None:
    with pytest.raises(ValueError, match="must be a quantity"):
        amount(quantity)


PATTERNS = {
    name: value
    for name, value in vars(scalars).items()
    if name.isupper() and isinstance(value, str) and value[0] == "^"
}


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS.keys())
def test_patterns_mean_the_same_in_re2(pattern: str) -> None:
    """No look-around and no back reference, and anchored: `matches` of CEL finds anywhere, `fullmatch` does not."""
    assert pattern.endswith("$")
    assert not re.search(r"\(\?|\\[1-9AbBdDwWZ]", pattern)


@given(st.text(max_size=12))
def test_a_pattern_never_lets_a_line_break_through_at_the_end(text: str) -> None:
    assert not matching(scalars.NAME, "").holds(f"{text}\n")


@pytest.mark.parametrize(
    ("text", "written"),
    [(r"^a\.b$", r"r'^a\.b$'"), ("it's", '"it\'s"'), ("a\\x00\nb", r'"a\\x00\nb"')],
)
def test_cel_literals(text: str, written: str) -> None:
    assert literal(text) == written
