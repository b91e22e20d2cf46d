"""The periodic scheduler. Every wait is for a condition; intervals are short."""

import asyncio
from collections import Counter

import pytest

from mcp_operator.engine.scheduler import Job, PeriodicScheduler
from support.leaping import leaping, now
from support.waiting import Eventually

NEVER = 3600.0


def counting(runs: Counter[str], key: str) -> Job:
    async def job() -> None:
        runs[key] += 1

    return job


async def test_jobs_recur_each_at_its_own_interval(eventually: Eventually) -> None:
    runs = Counter[str]()
    async with PeriodicScheduler[str](spread=0.005) as scheduler:
        scheduler.set("often", 0.01, counting(runs, "often"))
        scheduler.set("rarely", NEVER, counting(runs, "rarely"))
        assert len(scheduler) == 2
        assert "often" in scheduler
        await eventually(lambda: runs["often"] >= 5 and runs["rarely"] == 1)
    assert runs["rarely"] == 1


@leaping
async def test_the_first_run_comes_within_the_spread_and_not_all_at_once(eventually: Eventually) -> None:
    starts: list[float] = []

    async def job() -> None:
        starts.append(now())

    async with PeriodicScheduler[int](spread=0.2, concurrency=100) as scheduler:
        began = now()
        for key in range(40):
            scheduler.set(key, NEVER, job)
        assert not starts
        await eventually(lambda: len(starts) == 40)
    assert starts[-1] - starts[0] > 0.05
    assert began <= starts[0] <= starts[-1] <= began + 0.201


@leaping
async def test_what_is_due_later_wakes_the_process_a_few_times_a_second_and_not_each_for_itself() -> None:
    async def job() -> None: ...

    async with PeriodicScheduler[int](spread=20.0) as scheduler:
        for key in range(2500):  # `spread` is reached from 2,000 on
            scheduler.set(key, 30.0, job)
        timers = [entry.timer.when() for entry in scheduler._entries.values() if entry.timer is not None]
    later = {when for when in timers if when > min(timers) + 4.0}
    assert len(timers) == 2500
    assert len(later) <= 4 * 20
    assert all(when % 0.25 == 0 for when in later)


async def test_no_more_jobs_run_at_once_than_allowed(eventually: Eventually) -> None:
    running, most, ended = 0, 0, 0

    async def job() -> None:
        nonlocal running, most, ended
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.003)
        running -= 1
        ended += 1

    async with PeriodicScheduler[int](concurrency=3, spread=0.001) as scheduler:
        for key in range(20):
            scheduler.set(key, NEVER, job)
        await eventually(lambda: ended == 20)
    assert most == 3


async def test_a_key_never_runs_twice_at_once_and_a_trigger_meanwhile_runs_it_once_more(eventually: Eventually) -> None:
    gate, running, most, runs = asyncio.Event(), 0, 0, 0

    async def job() -> None:
        nonlocal running, most, runs
        running += 1
        runs += 1
        most = max(most, running)
        await gate.wait()
        running -= 1

    async with PeriodicScheduler[str](spread=NEVER) as scheduler:
        scheduler.set("a", NEVER, job)
        for _ in range(3):
            assert scheduler.trigger("a")
        await eventually(lambda: running == 1)
        for _ in range(3):
            assert scheduler.trigger("a")
        gate.set()
        await eventually(lambda: runs == 2 and scheduler.running == 0)
        assert scheduler.trigger("unknown") is False
    assert (runs, most) == (2, 1)


async def test_a_triggered_job_goes_before_those_that_are_due(eventually: Eventually) -> None:
    gate, order = asyncio.Event(), []

    def job(key: str) -> Job:
        async def run() -> None:
            order.append(key)
            await gate.wait()

        return run

    async with PeriodicScheduler[str](concurrency=1, spread=0.0) as scheduler:
        for key in ("holds the slot", "b", "c"):
            scheduler.set(key, NEVER, job(key))
        await eventually(lambda: scheduler.running == 1)
        scheduler.set("urgent", NEVER, job("urgent"))
        scheduler.trigger("urgent")
        gate.set()
        await eventually(lambda: len(order) == 4)
    assert order == ["holds the slot", "urgent", "b", "c"]


async def test_a_job_that_fails_is_reported_and_recurs(
    eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[tuple[str, Exception]] = []
    runs = Counter[str]()

    async def job() -> None:
        runs["bad"] += 1
        raise ValueError("no such host")

    def on_error(key: str, error: Exception) -> None:
        errors.append((key, error))
        raise RuntimeError("the reporter fails as well")

    async with PeriodicScheduler[str](spread=0.001, on_error=on_error) as scheduler:
        scheduler.set("bad", 0.005, job)
        scheduler.set("good", 0.005, counting(runs, "good"))
        await eventually(lambda: runs["bad"] >= 3 and runs["good"] >= 3)
    assert errors[0][0] == "bad"
    assert str(errors[0][1]) == "no such host"
    assert "periodic job bad failed" in caplog.text
    assert "on_error of periodic job bad failed" in caplog.text


async def test_a_job_that_hangs_is_cut_off(eventually: Eventually) -> None:
    errors: list[Exception] = []

    async def job() -> None:
        await asyncio.Event().wait()

    async with PeriodicScheduler[str](
        spread=0.001, timeout=0.005, concurrency=1, on_error=lambda _, error: errors.append(error)
    ) as scheduler:
        scheduler.set("hangs", 0.01, job)
        await eventually(lambda: len(errors) >= 2)
    assert all(isinstance(error, TimeoutError) for error in errors)


async def test_removing_a_key_cancels_its_run_and_its_next(eventually: Eventually) -> None:
    cancelled = asyncio.Event()
    runs = Counter[str]()

    async def job() -> None:
        runs["a"] += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with PeriodicScheduler[str](spread=0.001) as scheduler:
        scheduler.set("a", 0.001, job)
        await eventually(lambda: runs["a"] == 1)
        assert scheduler.remove("a") is True
        await asyncio.wait_for(cancelled.wait(), 5)
        assert scheduler.remove("a") is False
        await eventually(lambda: scheduler.running == 0)
        assert "a" not in scheduler
    assert runs["a"] == 1


async def test_a_key_set_anew_while_its_old_run_still_ends_waits_for_that(eventually: Eventually) -> None:
    may_end, events = asyncio.Event(), []

    async def old() -> None:
        events.append("old starts")
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()
            events.append("old ends")

    async def new() -> None:
        events.append("new starts")

    async with PeriodicScheduler[str](spread=0.001) as scheduler:
        scheduler.set("a", NEVER, old)
        await eventually(lambda: events == ["old starts"])
        scheduler.remove("a")
        scheduler.set("a", NEVER, new)
        scheduler.trigger("a")
        for _ in range(5):
            await asyncio.sleep(0)
        may_end.set()
        await eventually(lambda: len(events) == 3)
    assert events == ["old starts", "old ends", "new starts"]


async def test_a_shorter_interval_and_a_new_job_take_effect_without_another_first_run(eventually: Eventually) -> None:
    runs = Counter[str]()
    async with PeriodicScheduler[str](spread=0.001) as scheduler:
        scheduler.set("a", NEVER, counting(runs, "old"))
        await eventually(lambda: runs["old"] == 1 and scheduler.running == 0)
        scheduler.set("a", NEVER, counting(runs, "new"))
        assert runs["new"] == 0
        scheduler.set("a", 0.005, counting(runs, "new"))
        await eventually(lambda: runs["new"] >= 3)
    assert runs["old"] == 1


async def test_after_the_end_nothing_runs_and_nothing_is_taken() -> None:
    runs = Counter[str]()
    scheduler = PeriodicScheduler[str](spread=0.001)
    scheduler.set("a", 0.001, counting(runs, "a"))
    await scheduler.aclose()
    scheduler.set("b", 0.001, counting(runs, "b"))
    assert len(scheduler) == 0
    assert scheduler.trigger("a") is False
    assert not runs


async def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="concurrency"):
        PeriodicScheduler[str](concurrency=0)
    with pytest.raises(ValueError, match="interval of a must be positive"):
        PeriodicScheduler[str]().set("a", 0, counting(Counter(), "a"))


async def test_a_run_that_is_due_and_needless_is_left_out(eventually: Eventually) -> None:
    runs, asked, needless = Counter[str](), 0, True

    def is_needless() -> bool:
        nonlocal asked
        asked += 1
        return needless

    async with PeriodicScheduler[str](spread=0.0) as scheduler:
        scheduler.set("a", 0.005, counting(runs, "a"), is_needless)
        await eventually(lambda: asked >= 5)
        assert not runs
        assert scheduler.trigger("a"), "somebody wants it"
        await eventually(lambda: runs["a"] == 1)
        needless = False
        await eventually(lambda: runs["a"] >= 3)
