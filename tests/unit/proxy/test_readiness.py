"""When a process gets its first calls, by what is asked of it, what it has, and its age."""

import pytest

from mcp_operator_proxy.readiness import CATCH_UP_SECONDS, LISTED_SECONDS, Readiness


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("wanted", "refused", "unheard", "age", "problem"),
    [
        (None, None, 3, 0.0, None),
        ("", None, 0, 0.0, None),
        ("a", None, 0, 0.0, None),
        ("b", None, 0, 0.0, "revision a is in use, b is on its way"),
        ("b", "b", 0, 0.0, None),
        ("b", "c", 0, 0.0, "revision a is in use, b is on its way"),
        ("b", None, 0, CATCH_UP_SECONDS, None),
        ("", None, 2, 0.0, "2 servers have not answered yet"),
        ("a", None, 2, 0.0, "2 servers have not answered yet"),
        ("a", None, 2, LISTED_SECONDS, None),
    ],
)
def test_the_first_time(wanted: str | None, refused: str | None, unheard: int, age: float, problem: str | None) -> None:
    clock = Clock()
    readiness = Readiness(clock)
    readiness.want(wanted)
    clock.now += age
    assert readiness.problem(revision="a", refused=refused, unheard=unheard) == problem


def test_once_ready_it_stays_so() -> None:
    """A pod that lags behind in a swap serves what it has."""
    readiness = Readiness(Clock())
    readiness.want("a")
    assert readiness.problem(revision="a", refused=None, unheard=0) is None
    readiness.want("b")
    assert readiness.problem(revision="a", refused=None, unheard=7) is None
