"""Workers: each way in which a reconcile can end, and what becomes of its key."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry

from mcp_operator.engine.backoff import Backoff
from mcp_operator.engine.keys import Key
from mcp_operator.engine.metrics import Metrics, PrometheusMetrics
from mcp_operator.engine.queue import WorkQueue
from mcp_operator.engine.subject import current
from mcp_operator.engine.worker import Result, Running, run_workers
from support.waiting import Eventually

A, B = Key("Thing", "ns", "a"), Key("Thing", "ns", "b")
FAST = Backoff(base=0.001, cap=0.005)


class Refused(Exception):
    retry_after: float | None = None


class Outcomes(Metrics):
    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def reconciled(self, kind: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.seen[f"{kind} {outcome}"] += 1


async def work_off(queue: WorkQueue, reconcile: Callable[[Key], Awaitable[Result]], **options: object) -> None:
    """Run workers until nothing waits, is timed, or is worked on."""
    workers = asyncio.create_task(run_workers(queue, reconcile, **options))  # type: ignore[arg-type]
    async with asyncio.timeout(20):
        while queue.scheduled or len(queue) or queue.busy:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    queue.shut_down(drain=True)
    await workers


async def test_every_key_is_reconciled_by_as_many_workers_as_asked() -> None:
    queue, running, most, seen = WorkQueue(), 0, 0, []

    async def reconcile(key: Key) -> Result:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002)
        running -= 1
        seen.append(key.name)
        return Result()

    for number in range(30):
        queue.add(Key("Thing", "", str(number)))
    await work_off(queue, reconcile, count=4)
    assert sorted(seen, key=int) == [str(number) for number in range(30)]
    assert most == 4


async def test_a_failed_key_is_tried_again_until_it_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    queue, attempts, metrics = WorkQueue(backoff=FAST), Counter[Key](), Outcomes()

    async def reconcile(key: Key) -> Result:
        attempts[key] += 1
        if key == A and attempts[key] < 4:
            raise RuntimeError("out of order")
        return Result()

    queue.add(A)
    queue.add(B)
    with caplog.at_level(logging.WARNING):
        await work_off(queue, reconcile, metrics=metrics)
    assert attempts == {A: 4, B: 1}
    assert queue.failures(A) == 0
    assert metrics.seen == {"Thing error": 3, "Thing success": 2}
    records = [record for record in caplog.records if record.name == "mcp_operator.engine.worker"]
    assert [record.getMessage() for record in records] == [
        f"reconcile Thing/ns/a failed (attempt {number})" for number in (1, 2, 3)
    ]
    assert all(record.exc_info for record in records), "an unexpected failure is logged with its traceback"


async def test_an_expected_failure_is_one_line_and_waits_as_long_as_the_server_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue, calls = WorkQueue(backoff=FAST), []

    async def reconcile(key: Key) -> Result:
        calls.append(asyncio.get_running_loop().time())
        if len(calls) == 1:
            error = Refused("too many requests")
            error.retry_after = 0.05
            raise error
        return Result()

    queue.add(A)
    with caplog.at_level(logging.WARNING):
        await work_off(queue, reconcile, expected=(Refused,))
    assert calls[1] - calls[0] >= 0.05
    (record,) = caplog.records
    assert record.getMessage() == "reconcile Thing/ns/a: too many requests (attempt 1)"
    assert record.exc_info is None


async def test_a_reconcile_that_hangs_is_cut_off_and_does_not_hold_its_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue, attempts, metrics = WorkQueue(backoff=FAST), Counter[Key](), Outcomes()

    async def reconcile(key: Key) -> Result:
        attempts[key] += 1
        if key == A and attempts[key] == 1:
            await asyncio.Event().wait()
        return Result()

    queue.add(A)
    queue.add(B)
    await work_off(queue, reconcile, count=1, timeout=0.02, metrics=metrics)
    assert attempts == {A: 2, B: 1}
    assert metrics.seen == {"Thing timeout": 1, "Thing success": 2}
    assert "reconcile Thing/ns/a: not finished after 0.02 s" in caplog.text


async def test_a_reconcilers_own_timeout_error_is_an_error_of_its_own() -> None:
    queue, metrics, attempts = WorkQueue(backoff=FAST), Outcomes(), Counter[Key]()

    async def reconcile(key: Key) -> Result:
        attempts[key] += 1
        if attempts[key] == 1:
            raise TimeoutError("a probe took too long")
        return Result()

    queue.add(A)
    await work_off(queue, reconcile, metrics=metrics)
    assert metrics.seen == {"Thing error": 1, "Thing success": 1}


async def test_a_key_comes_back_when_its_result_says_so(eventually: Eventually) -> None:
    queue, metrics, calls = WorkQueue(), Outcomes(), []

    async def reconcile(key: Key) -> Result:
        calls.append(key)
        return Result(requeue_after=0.005) if len(calls) < 3 else Result()

    queue.add(A)
    await work_off(queue, reconcile, metrics=metrics)
    assert calls == [A, A, A]
    assert metrics.seen == {"Thing requeue_after": 2, "Thing success": 1}


async def test_cancelling_the_workers_cancels_what_they_do_and_leaves_no_key_behind(eventually: Eventually) -> None:
    queue, cleaned = WorkQueue(), []

    async def reconcile(key: Key) -> Result:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(key)
        return Result()

    queue.add(A)
    queue.add(B)
    workers = asyncio.create_task(run_workers(queue, reconcile, count=3))
    await eventually(lambda: queue.busy == 2)
    workers.cancel()
    with pytest.raises(asyncio.CancelledError):
        await workers
    assert sorted(cleaned) == [A, B]
    assert (queue.busy, queue.scheduled) == (0, 0)


async def test_draining_ends_the_workers_when_all_is_done(eventually: Eventually) -> None:
    queue, gate, seen = WorkQueue(), asyncio.Event(), []

    async def reconcile(key: Key) -> Result:
        await gate.wait()
        seen.append(key)
        return Result(requeue_after=60)

    workers = asyncio.create_task(run_workers(queue, reconcile, count=2))
    queue.add(A)
    queue.add(B)
    await eventually(lambda: queue.busy == 2)
    queue.add(A)
    queue.shut_down(drain=True)
    gate.set()
    await asyncio.wait_for(workers, 5)
    assert sorted(seen) == [A, A, B]
    assert queue.scheduled == 0


async def test_prometheus_shows_what_happened() -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    queue, attempts = WorkQueue(backoff=FAST, metrics=metrics), Counter[Key]()

    async def reconcile(key: Key) -> Result:
        attempts[key] += 1
        if attempts[key] == 1:
            raise Refused
        return Result()

    queue.add(A)
    await work_off(queue, reconcile, metrics=metrics, expected=(Refused,))
    metrics.resynced("Thing", 3, 0.1)
    metrics.resync_failed("Thing")

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("workqueue_depth") == 0
    assert value("workqueue_adds_total", kind="Thing") == 2
    assert value("workqueue_retries_total", kind="Thing") == 1
    assert value("workqueue_queue_duration_seconds_count", kind="Thing") == 2
    assert value("controller_active_workers") == 0
    assert value("controller_reconcile_total", kind="Thing", result="error") == 1
    assert value("controller_reconcile_total", kind="Thing", result="success") == 1
    assert value("controller_reconcile_time_seconds_count", kind="Thing") == 2
    assert value("controller_resync_differences_total", kind="Thing") == 3
    assert value("controller_resync_failures_total", kind="Thing") == 1


async def test_who_does_not_come_back_is_known(eventually: Eventually) -> None:
    """A reconcile that swallows its cancellation: its time limit does not end it."""
    queue, running, stop = WorkQueue(backoff=FAST), Running(), asyncio.Event()

    async def reconcile(key: Key) -> Result:
        while not stop.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await stop.wait()
        return Result()

    assert running.longest() is None
    queue.add(A)
    workers = asyncio.create_task(run_workers(queue, reconcile, count=2, timeout=0.001, running=running))
    await eventually(lambda: (longest := running.longest()) is not None and longest[1] > 0.05)
    longest = running.longest()
    assert longest is not None
    assert longest[0] == A
    stop.set()
    await eventually(lambda: running.longest() is None)
    queue.shut_down(drain=False)
    await workers


async def test_the_code_of_a_reconcile_knows_what_it_is_about(caplog: pytest.LogCaptureFixture) -> None:
    queue, subjects = WorkQueue(backoff=FAST), []

    async def reconcile(key: Key) -> Result:
        subjects.append((key, current(), await asyncio.create_task(_subject())))
        return Result()

    async def _subject() -> Key | None:
        return current()

    queue.add(A)
    queue.add(B)
    with caplog.at_level(logging.DEBUG):
        await work_off(queue, reconcile, count=1)
    assert subjects == [(A, A, A), (B, B, B)]
    assert current() is None
    lines = [record for record in caplog.records if record.message == f"reconciled {A}"]
    assert [(line.result, line.seconds >= 0) for line in lines] == [("success", True)]  # type: ignore[attr-defined]
