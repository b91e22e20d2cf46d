"""When a server that does not answer is restarted: a table over time.

not while it answers, is not known, is not up, or was restarted in vain · pauses that double, to five minutes
time for pods that have just come up · forgiven after ten healthy minutes · a story from the first failure to the last
"""

from datetime import UTC, datetime, timedelta

import pytest

from mcp_operator.desired.restarts import Decision, Restarts, decide

T = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T + timedelta(seconds=seconds)


def again(count: int, last: datetime | None, seconds: float) -> Decision:
    return Decision(Restarts(count, last), seconds)


@pytest.mark.parametrize(
    ("past", "deployed", "healthy", "expected"),
    [
        (Restarts(), True, True, Decision(Restarts())),
        (Restarts(), True, None, Decision(Restarts())),
        (Restarts(), False, False, Decision(Restarts())),
        (Restarts(), True, False, Decision(Restarts(1, T))),
        (Restarts(0, at(-5)), True, False, Decision(Restarts(1, T))),
        (Restarts(1, at(-9)), True, False, again(1, at(-9), 1)),
        (Restarts(1, at(-10)), True, False, Decision(Restarts(2, T))),
        (Restarts(2, at(-19)), True, False, again(2, at(-19), 1)),
        (Restarts(2, at(-20)), True, False, Decision(Restarts(3, T))),
        (Restarts(3, at(-9999)), True, False, Decision(Restarts(3, at(-9999)), in_vain=True)),
        (Restarts(3, at(-39)), True, False, again(3, at(-39), 1)),
        (Restarts(5, at(-9999)), True, False, Decision(Restarts(5, at(-9999)), in_vain=True)),
        (Restarts(3, at(-9999)), False, False, Decision(Restarts(3, at(-9999)))),
        (Restarts(3, at(-9999)), True, None, Decision(Restarts(3, at(-9999)))),
        (Restarts(1, at(-599)), True, True, again(1, at(-599), 1)),
        (Restarts(1, at(-600)), True, True, Decision(Restarts(0, at(-600)))),
        (Restarts(1, at(-600)), False, True, Decision(Restarts(0, at(-600)))),
        (Restarts(1, None), True, True, Decision(Restarts(1, None))),
    ],
)
def test_table(past: Restarts, deployed: bool, healthy: bool | None, expected: Decision) -> None:
    assert decide(past, deployed=deployed, healthy=healthy, limit=3, now=T) == expected


@pytest.mark.parametrize(("count", "pause"), [(1, 10), (2, 20), (3, 40), (5, 160), (6, 300), (50, 300), (99, 300)])
def test_pauses(count: int, pause: float) -> None:
    early = decide(Restarts(count, T), deployed=True, healthy=False, limit=100, now=at(pause - 1))
    assert early == again(count, T, 1)
    due = decide(Restarts(count, T), deployed=True, healthy=False, limit=100, now=at(pause))
    assert due.restarts == Restarts(count + 1, at(pause))


@pytest.mark.parametrize(
    ("past", "since", "expected"),
    [
        (Restarts(), -89, again(0, None, 1)),
        (Restarts(), -90, Decision(Restarts(1, T))),
        (Restarts(1, at(-95)), -85, again(1, at(-95), 5)),
        (Restarts(3, at(-30)), -90, again(3, at(-30), 10)),
    ],
)
def test_pods_that_have_just_come_up_have_time_to_answer(past: Restarts, since: float, expected: Decision) -> None:
    decision = decide(
        past,
        deployed=True,
        healthy=False,
        limit=9,
        now=T,
        up_since=at(since),
        patience=timedelta(seconds=90),
    )
    assert decision == expected


@pytest.mark.parametrize("count", [0, 3])
def test_zero_is_never(count: int) -> None:
    assert decide(Restarts(count), deployed=True, healthy=False, limit=0, now=T) == Decision(Restarts(count))


def test_times_are_whole_seconds() -> None:
    """A status and an annotation hold no more, and are compared."""
    decision = decide(Restarts(), deployed=True, healthy=False, limit=1, now=at(0.7))
    assert decision.restarts.last == T


def test_a_story() -> None:
    """It fails all the time: three restarts, and then it is left alone."""
    restarts, ordered, in_vain = Restarts(), [], []
    for second in range(200):
        decision = decide(restarts, deployed=True, healthy=False, limit=3, now=at(second))
        if decision.restarts != restarts:
            ordered.append(second)
        if decision.in_vain:
            in_vain.append(second)
        restarts = decision.restarts
    assert ordered == [0, 10, 30]
    assert in_vain == list(range(70, 200)), "the third has its pause too, before it counts as in vain"
