"""The runner of canary calls: what results make of a state, when calls are made, what is told."""

import asyncio
from datetime import UTC, datetime

import pytest

from mcp_operator.probe.canaries import Canaries, CanaryState, fold
from mcp_operator.probe.canary import CanaryCall, CanaryResult, Outcome
from mcp_operator.probe.expectation import Expectation
from mcp_operator.probe.target import Target
from support.waiting import Eventually

NEVER = 3600.0
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def result(outcome: Outcome, message: str = "") -> CanaryResult:
    return CanaryResult(time=NOW, seconds=0.1, outcome=outcome, message=message)


GOOD, BAD = result("CallPassed"), result("CallFailed", "no")
Y, N = True, False
SEQUENCES = {
    #                  calls, failures, successes, news,              passing
    "passes":         ("g",    3, 1, [Y],                  True),
    "goes on":        ("ggg",  3, 1, [Y, N, N],            True),
    "not yet":        ("bb",   3, 1, [N, N],               None),
    "never passed":   ("bbbb", 3, 1, [N, N, Y, N],         False),
    "a blip":         ("gbbg", 3, 1, [Y, N, N, N],         True),
    "breaks":         ("gbbb", 3, 1, [Y, N, N, Y],         False),
    "heals":          ("bg",   1, 1, [Y, Y],               True),
    "heals slowly":   ("bggg", 1, 3, [Y, N, N, Y],         True),
    "starts anew":    ("bggbg", 1, 3, [Y, N, N, N, N],     False),
}  # fmt: skip


@pytest.mark.parametrize(("calls", "failures", "successes", "news", "passing"), SEQUENCES.values(), ids=SEQUENCES)
def test_sequences(calls: str, failures: int, successes: int, news: list[bool], passing: bool | None) -> None:
    state, told = CanaryState(), []
    for one in calls:
        after = fold(state, GOOD if one == "g" else BAD, failures, successes)
        told.append(after != state)
        state = after
    assert told == news
    assert state.passing is passing


@pytest.mark.parametrize(
    ("first", "second", "news"),
    [
        (result("CallFailed", "request 17 failed"), result("CallFailed", "request 18 failed"), False),
        (result("CallFailed", "no licence"), result("CallFailed", "no database"), True),
        (result("CallFailed", "no"), result("Timeout", "no"), True),
    ],
)
def test_which_failures_are_news(first: CanaryResult, second: CanaryResult, news: bool) -> None:
    state = fold(CanaryState(), first, 1, 1)
    after = fold(state, second, 1, 1)
    assert (after != state) is news
    assert after.message == (second.message if news else first.message)


class Calls:
    """In place of the network: each call waits until it is answered."""

    def __init__(self) -> None:
        self.running: list[tuple[CanaryCall, asyncio.Future[CanaryResult]]] = []
        self.made = 0

    async def __call__(self, canary: CanaryCall) -> CanaryResult:
        entry = (canary, asyncio.get_running_loop().create_future())
        self.running.append(entry)
        self.made += 1
        try:
            return await entry[1]
        finally:
            self.running.remove(entry)

    def answer(self, outcome: CanaryResult) -> None:
        next(future for _, future in self.running if not future.done()).set_result(outcome)


def to(url: str, **more: object) -> CanaryCall:
    return CanaryCall(target=Target(url=url), tool="t", **more)  # type: ignore[arg-type]


async def test_a_call_is_made_at_once_and_told_when_it_changes_something(eventually: Eventually) -> None:
    calls, told, results = Calls(), [], []
    async with Canaries[str](
        told.append, call=calls, on_result=lambda key, found: results.append((key, found.outcome))
    ) as canaries:
        canaries.watch("s", {"one": to("http://one"), "two": to("http://two")}, NEVER, 1, 1)
        await eventually(lambda: len(calls.running) == 2)
        canaries.watch("s", {"one": to("http://one"), "two": to("http://two")}, NEVER, 1, 1)
        calls.answer(GOOD)
        calls.answer(BAD)
        await eventually(lambda: len(told) == 2)
        assert {name: state.passing for name, state in canaries.states("s").items()} == {"one": True, "two": False}
        await eventually(lambda: calls.made == 3)
        calls.answer(BAD)
        await eventually(lambda: calls.made == 4)
        assert told == ["s", "s"], "the same again is no news"
        assert sorted(results) == [("s", "CallFailed")] * 2 + [("s", "CallPassed")]


async def test_a_call_that_is_no_longer_wanted_is_dropped(eventually: Eventually) -> None:
    calls, told = Calls(), []
    async with Canaries[str](told.append, call=calls) as canaries:
        canaries.watch("s", {"one": to("http://one"), "two": to("http://two")}, NEVER, 1, 1)
        await eventually(lambda: len(calls.running) == 2)
        canaries.watch("s", {"two": to("http://two")}, NEVER, 1, 1)
        await eventually(lambda: [call.target.url for call, _ in calls.running] == ["http://two"])
        assert canaries.states("s").keys() == {"two"}
        canaries.forget("s")
        canaries.forget("unknown")
        canaries.trigger("unknown")
        await eventually(lambda: not calls.running)
        assert canaries.states("s") == {}
        assert told == []


@pytest.mark.parametrize(
    ("other", "kept"),
    [
        (CanaryCall(target=Target(url="http://one", headers={"X": "y"}, timeout=9), tool="t"), True),
        (to("http://one", secrets=("x",)), True),
        (to("http://one", arguments={"a": 1}), False),
        (to("http://one", expect=Expectation(contains="x")), False),
        (to("http://elsewhere"), False),
    ],
)
async def test_what_is_kept_of_a_changed_call(eventually: Eventually, other: CanaryCall, kept: bool) -> None:
    calls, told = Calls(), []
    async with Canaries[str](told.append, call=calls) as canaries:
        canaries.watch("s", {"one": to("http://one")}, NEVER, 1, 1)
        await eventually(lambda: calls.running)
        calls.answer(GOOD)
        await eventually(lambda: told)
        canaries.watch("s", {"one": other}, NEVER, 1, 1)
        assert canaries.states("s")["one"].passing is (True if kept else None)
        await eventually(lambda: calls.running and calls.running[0][0] is other)


async def test_a_trigger_calls_now(eventually: Eventually) -> None:
    calls: Calls = Calls()
    async with Canaries[str](lambda _: None, call=calls) as canaries:
        canaries.watch("s", {"one": to("http://one")}, NEVER, 1, 1)
        await eventually(lambda: calls.running)
        calls.answer(GOOD)
        await eventually(lambda: not calls.running)
        canaries.trigger("s")
        await eventually(lambda: calls.made == 2)
