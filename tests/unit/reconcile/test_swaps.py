"""Which pods are annotated, when, and with what. Time is the test's.

a new revision · nothing for those that are done · again after a second, with another value, 30 times at most
another process annotated before this one · a pod that is replaced · two proxies · what is forgotten
"""

from typing import Any

import pytest

from mcp_operator.api.meta import ANNOTATION_REVISION
from mcp_operator.engine.keys import Key
from mcp_operator.reconcile.swaps import NUDGE_SECONDS, NUDGES, Swaps

PROXY, OTHER = Key("McpProxy", "a", "one"), Key("McpProxy", "a", "two")


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pod(name: str, annotated: str | None = None) -> dict[str, Any]:
    annotations = {ANNOTATION_REVISION: annotated} if annotated else {}
    return {"metadata": {"name": name, "uid": f"uid-{name}", "annotations": annotations}}


def hurry(swaps: Swaps, *pods: dict[str, Any], done: tuple[str, ...] = (), proxy: Key = PROXY) -> list[str]:
    """The annotations that pods get, which they have from then on."""
    nudges, _ = swaps.nudges(proxy, "rev", pods, done)
    for nudge in nudges:
        nudge.pod["metadata"]["annotations"][ANNOTATION_REVISION] = nudge.value  # type: ignore[index]
    return [nudge.value for nudge in nudges]


def test_a_new_revision_hurries_those_that_are_not_done(clock: Clock) -> None:
    swaps = Swaps(clock)
    pods = [pod("a"), pod("b", "before"), pod("c", "before+4"), pod("d")]
    nudges, again = swaps.nudges(PROXY, "rev", pods, ["d"])
    assert [(nudge.pod["metadata"]["name"], nudge.value) for nudge in nudges] == [(n, "rev") for n in "abc"]
    assert again == NUDGE_SECONDS
    assert swaps.nudges(PROXY, "rev", pods, ["a", "b", "c", "d"]) == ([], None)


def test_one_that_lags_is_nudged_again_and_not_for_ever(clock: Clock) -> None:
    swaps, lagging = Swaps(clock), pod("a")
    assert hurry(swaps, lagging) == ["rev"]
    assert hurry(swaps, lagging) == []
    values = []
    for _ in range(2 * NUDGES):
        clock.now += NUDGE_SECONDS
        values += hurry(swaps, lagging)
    assert values == [f"rev+{number}" for number in range(1, NUDGES)]
    assert swaps.nudges(PROXY, "rev", [lagging], []) == ([], None)
    assert swaps.nudges(PROXY, "next", [lagging], [])[0][0].value == "next"


def test_a_patch_that_did_not_arrive_is_sent_again_after_the_pause(clock: Clock) -> None:
    swaps, stubborn = Swaps(clock), pod("a")
    assert len(swaps.nudges(PROXY, "rev", [stubborn], [])[0]) == 1
    assert swaps.nudges(PROXY, "rev", [stubborn], [])[0] == []
    clock.now += NUDGE_SECONDS
    assert swaps.nudges(PROXY, "rev", [stubborn], [])[0][0].value == "rev"


@pytest.mark.parametrize(("annotated", "value"), [("rev", "rev+1"), ("rev+3", "rev+4"), ("rev+x", "rev+1")])
def test_what_another_process_annotated_is_waited_for(clock: Clock, annotated: str, value: str) -> None:
    swaps, under_way = Swaps(clock), pod("a", annotated)
    assert swaps.nudges(PROXY, "rev", [under_way], []) == ([], NUDGE_SECONDS)
    clock.now += NUDGE_SECONDS
    assert hurry(swaps, under_way) == [value]


def test_a_pod_that_nobody_has_asked_yet_is_not_known_to_lag(clock: Clock) -> None:
    swaps, waiting, other = Swaps(clock), pod("a", "rev+3"), pod("b", "before")
    for _ in range(5):
        clock.now += NUDGE_SECONDS
        nudges, again = swaps.nudges(PROXY, "rev", [waiting], [], ["a"])
        assert (nudges, again) == ([], NUDGE_SECONDS)
    nudges, _ = swaps.nudges(PROXY, "rev", [other], [], ["b"])
    assert [nudge.value for nudge in nudges] == ["rev"], "nobody has told it of this revision"
    swaps.nudges(PROXY, "rev", [waiting], [], ["a"])
    clock.now += NUDGE_SECONDS
    nudges, _ = swaps.nudges(PROXY, "rev", [waiting], [])
    assert [nudge.value for nudge in nudges] == ["rev+4"], "it has answered, and lags"


def test_pods_that_are_being_started_are_told_once() -> None:
    pods = [pod("a"), pod("b", "before"), pod("c", "rev"), pod("d", "rev+2")]
    announced = Swaps.announcements("rev", pods)
    assert [(nudge.pod["metadata"]["name"], nudge.value) for nudge in announced] == [("a", "rev"), ("b", "rev")]


def test_proxies_do_not_disturb_each_other(clock: Clock) -> None:
    swaps, one, two = Swaps(clock), pod("a"), pod("b")
    assert hurry(swaps, one) == hurry(swaps, two, proxy=OTHER) == ["rev"]
    assert hurry(swaps, one) == hurry(swaps, two, proxy=OTHER) == []


def test_nothing_is_kept_of_pods_and_proxies_that_are_gone(clock: Clock) -> None:
    swaps = Swaps(clock)
    hurry(swaps, pod("a"), pod("b"))
    hurry(swaps, pod("b"))
    assert [*swaps._hurried[PROXY]] == ["uid-b"]
    hurry(swaps, pod("b"), done=("b",))
    assert swaps._hurried == {}
    hurry(swaps, pod("a"))
    swaps.forget(PROXY)
    assert swaps._hurried == {}
