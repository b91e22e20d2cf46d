"""A gate: so many at once, first come first served; a circuit that opens, and exactly one call that tries."""

import asyncio

import pytest

from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.backends.gate import CALL, REFUSED, TRIAL, Gate
from mcp_operator_proxy.config import CircuitBreaker
from support.waiting import Eventually

LONG = 60.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def gate(limit: int = 2, failures: int = 3, open_seconds: float = 10.0) -> tuple[Gate, Clock]:
    clock = Clock()
    return Gate(limit, CircuitBreaker(failures=failures, open_seconds=open_seconds), clock=clock), clock


def opened(**options: int) -> tuple[Gate, Clock]:
    made, clock = gate(**options)
    for _ in range(options.get("failures", 3)):
        made.leave(False, made.try_enter())
    assert made.report().circuit == "open"
    return made, clock


async def test_those_who_find_it_full_enter_in_the_order_in_which_they_came(eventually: Eventually) -> None:
    made, _ = gate(limit=1)
    assert made.try_enter() == CALL
    order: list[int] = []

    async def call(number: int) -> None:
        ticket = await made.enter(LONG)
        order.append(number)
        assert made.report().in_flight == 1
        await asyncio.sleep(0)
        made.leave(True, ticket)

    calls = []
    for number in range(5):
        calls.append(asyncio.create_task(call(number)))
        await eventually(lambda n=number: made.report().waiting == n + 1)
    assert made.try_enter() == REFUSED
    made.leave(True, CALL)
    assert made.try_enter() == REFUSED, "nobody passes those in line"
    await asyncio.gather(*calls)
    assert order == [0, 1, 2, 3, 4]
    assert (made.report().in_flight, made.report().waiting) == (0, 0)


async def test_who_waits_too_long_is_told_that_it_did_not_run() -> None:
    made, _ = gate(limit=1)
    held = made.try_enter()
    with pytest.raises(BackendError) as caught:
        await made.enter(0.001)
    assert (caught.value.report.error_class, caught.value.executed) == ("Overloaded", False)
    assert caught.value.report.message.startswith("1 calls are in flight")
    made.leave(True, held)
    assert await made.enter(LONG) == CALL
    assert made.report().refused == 1


async def test_who_goes_away_from_the_line_keeps_no_place(eventually: Eventually) -> None:
    made, _ = gate(limit=1)
    held = made.try_enter()
    first, second = (asyncio.create_task(made.enter(LONG)) for _ in range(2))
    await eventually(lambda: made.report().waiting == 2)
    first.cancel()
    await asyncio.wait([first])
    made.leave(True, held)
    assert await second == CALL
    made.leave(True, CALL)
    assert not made.busy


async def test_a_place_that_came_together_with_the_cancellation_is_given_on() -> None:
    made, _ = gate(limit=1)
    held = made.try_enter()
    waiting = asyncio.create_task(made.enter(LONG))
    await asyncio.sleep(0)
    made.leave(True, held)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert made.report().in_flight == 0
    assert made.try_enter() == CALL


async def test_the_circuit_opens_after_failures_in_a_row_only() -> None:
    made, _ = gate(failures=3)
    for answered in (False, False, True, False, None, False):
        assert made.report().circuit == "closed"
        made.leave(answered, made.try_enter())
    assert made.report().circuit == "closed"
    made.leave(False, made.try_enter())
    assert (made.report().circuit, made.report().opened) == ("open", 1)
    assert made.try_enter() == REFUSED
    with pytest.raises(BackendError) as caught:
        await made.enter(LONG)
    assert (caught.value.report.error_class, caught.value.executed) == ("CircuitOpen", False)
    assert "did not answer the last 3 calls" in caught.value.report.message
    assert "tried again in 10 s" in caught.value.report.message


@pytest.mark.parametrize("answered", [True, False, None])
async def test_exactly_one_call_tries(answered: bool | None) -> None:
    made, clock = opened()
    clock.now += 9.9
    assert made.try_enter() == REFUSED
    clock.now += 0.2
    assert await made.enter(LONG) == TRIAL
    assert made.report().circuit == "half-open"
    assert made.try_enter() == REFUSED
    with pytest.raises(BackendError, match="one call is trying it"):
        await made.enter(LONG)
    made.leave(answered, TRIAL)
    if answered:
        assert made.report().circuit == "closed"
        assert made.try_enter() == CALL
    elif answered is None:
        assert made.try_enter() == TRIAL, "whoever came after a trial that was given up tries in its place"
    else:
        assert (made.report().circuit, made.report().opened) == ("open", 2)
        assert made.try_enter() == REFUSED
        clock.now += 10
        assert made.try_enter() == TRIAL


async def test_calls_from_before_do_not_end_a_trial_but_their_answer_closes() -> None:
    made, clock = gate(limit=10, failures=1)
    old = [made.try_enter() for _ in range(4)]
    made.leave(False, old.pop())
    clock.now += 10
    assert made.try_enter() == TRIAL
    made.leave(False, old.pop())
    made.leave(None, old.pop())
    assert made.report().circuit == "half-open"
    assert made.try_enter() == REFUSED
    made.leave(True, old.pop())
    assert made.report().circuit == "closed"
    made.leave(False, TRIAL)
    assert made.report().circuit == "open"


async def test_who_waits_when_the_circuit_opens_need_not_wait_longer(eventually: Eventually) -> None:
    made, _ = gate(limit=1, failures=1)
    held = made.try_enter()
    waiting = [asyncio.create_task(made.enter(LONG)) for _ in range(3)]
    await eventually(lambda: made.report().waiting == 3)
    made.leave(False, held)
    await asyncio.wait(waiting)
    assert [str(task.exception())[:25] for task in waiting] == ["the server did not answer"] * 3
    assert (made.report().in_flight, made.report().waiting, made.report().refused) == (0, 0, 3)


async def test_of_those_in_line_one_tries_when_the_time_has_come(eventually: Eventually) -> None:
    made, clock = gate(limit=2, failures=1)
    hung = made.try_enter()
    made.leave(False, made.try_enter())
    made.configure(1, CircuitBreaker(failures=1, open_seconds=10))
    clock.now += 10
    waiting = [asyncio.create_task(made.enter(LONG)) for _ in range(2)]
    await eventually(lambda: made.report().waiting == 2)
    made.leave(None, hung)
    await asyncio.wait(waiting)
    assert waiting[0].result() == TRIAL
    assert "one call is trying it" in str(waiting[1].exception())


async def test_a_server_that_came_back_is_tried_at_once() -> None:
    made, _ = opened()
    made.retry_now()
    assert made.try_enter() == TRIAL
    made.retry_now()
    assert made.try_enter() == REFUSED


async def test_other_limits_hold_at_once(eventually: Eventually) -> None:
    made, clock = gate(limit=1, failures=3, open_seconds=1000)
    made.try_enter()
    waiting = asyncio.create_task(made.enter(LONG))
    await eventually(lambda: made.report().waiting == 1)
    made.configure(2, CircuitBreaker(failures=1, open_seconds=5))
    assert await waiting == CALL
    made.leave(False, CALL)
    assert made.report().circuit == "open"
    made.configure(2, CircuitBreaker(failures=1, open_seconds=1))
    clock.now += 1
    assert made.try_enter() == TRIAL


async def test_quiet_waits_for_calls_in_flight_and_in_line(eventually: Eventually) -> None:
    made, _ = gate(limit=1)
    await made.quiet(LONG)
    made.try_enter()
    waiting = asyncio.create_task(made.enter(LONG))
    quiet = [asyncio.create_task(made.quiet(LONG)) for _ in range(2)]
    await eventually(lambda: made.report().waiting == 1)
    made.leave(True, CALL)
    await waiting
    assert not any(task.done() for task in quiet)
    made.leave(True, CALL)
    await asyncio.gather(*quiet)
    made.try_enter()
    await made.quiet(0.001)  # it does not wait for ever
