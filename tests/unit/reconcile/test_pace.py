"""How often a configuration may change. Time is the test's.

at rest: at once · edits one after the other: soon each, for ever · a flood: together, ever more rarely, and soon again after it
somebody who waited for nothing · the proxy itself edited · another proxy · what is forgotten
"""

import pytest

from mcp_operator.engine.keys import Key
from mcp_operator.reconcile.pace import FIRST_SECONDS, FLOOD_EDITS, LONGEST_SECONDS, LOOK_SECONDS, Pace

PROXY, OTHER = Key("McpProxy", "a", "one"), Key("McpProxy", "a", "two")


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def edit(pace: Pace, clock: Clock, *, elsewhere: int = 0) -> float:
    """Look again and again until an edit may be served; how long that took. `elsewhere` so many edits are made at each look."""
    began = clock.now
    while True:
        for _ in range(1 + elsewhere):
            pace.edited()
        if not (left := pace.wait(PROXY, 1)):
            break
        clock.now += left
    pace.changed(PROXY, 1)
    return clock.now - began


def flood(pace: Pace, clock: Clock) -> float:
    return edit(pace, clock, elsewhere=FLOOD_EDITS)


def test_edits_with_time_between_are_served_at_once(clock: Clock) -> None:
    pace = Pace(clock)
    for _ in range(20):
        assert edit(pace, clock) == 0
        clock.now += FIRST_SECONDS


def test_edits_without_a_pause_are_served_soon_for_ever(clock: Clock) -> None:
    """Somebody, or a program, edits again as soon as the edit before is served."""
    pace = Pace(clock)
    assert [edit(pace, clock) for _ in range(40)] == pytest.approx([0] + [FIRST_SECONDS] * 39)


def test_a_flood_is_served_ever_more_rarely(clock: Clock) -> None:
    pace = Pace(clock)
    waits = [flood(pace, clock) for _ in range(7)]
    assert waits[:4] == pytest.approx([0, 0.25, 1, 4])
    assert waits[4:] == pytest.approx([LONGEST_SECONDS] * 3)


def test_when_a_flood_is_over_the_last_edit_waits_no_longer(clock: Clock) -> None:
    pace = Pace(clock)
    for _ in range(6):
        flood(pace, clock)
    waited = edit(pace, clock)
    assert waited <= 3 * LOOK_SECONDS
    assert edit(pace, clock) == pytest.approx(FIRST_SECONDS)


def test_who_waited_for_something_else_makes_nobody_wait_longer(clock: Clock) -> None:
    """A pass that a replica's word brought on looks too, and finds the same configuration afterwards."""
    pace = Pace(clock)
    flood(pace, clock)
    clock.now += pace.wait(PROXY, 1)
    pace.unchanged(PROXY)
    assert flood(pace, clock) == 0
    assert flood(pace, clock) == pytest.approx(FIRST_SECONDS)


def test_an_edit_of_the_proxy_itself_does_not_wait(clock: Clock) -> None:
    pace = Pace(clock)
    edit(pace, clock)
    assert pace.wait(PROXY, 2) == 0
    assert pace.wait(PROXY, 1) > 0


def test_proxies_are_apart_and_forgotten(clock: Clock) -> None:
    pace = Pace(clock)
    edit(pace, clock)
    assert pace.wait(OTHER, 1) == 0
    pace.forget(PROXY)
    pace.forget(OTHER)
    assert pace.wait(PROXY, 1) == 0
