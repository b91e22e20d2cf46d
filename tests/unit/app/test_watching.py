"""The end of kopf's tasks, also of those that do not heed that they are cancelled."""

import asyncio
import contextlib

import pytest

from mcp_operator.app import watching


async def test_a_task_that_heeds_no_cancellation_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watching, "END_SECONDS", 0.05)
    may_end, asked = asyncio.Event(), 0

    async def heedless() -> None:
        nonlocal asked
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                asked += 1

    async def fails() -> None:
        raise LookupError

    stuck = asyncio.create_task(heedless(), name="heedless")
    tasks = [stuck, asyncio.create_task(asyncio.Event().wait()), asyncio.create_task(fails())]
    await asyncio.sleep(0)
    ending = asyncio.create_task(watching._end(tasks))
    done, _ = await asyncio.wait([ending], timeout=30)
    may_end.set()
    await stuck
    assert done
    assert asked == 2
    assert "tasks of kopf did not end: heedless" in caplog.text
    with contextlib.suppress(asyncio.CancelledError):
        await tasks[1]
    assert tasks[1].cancelled()


async def test_those_that_heed_it_end_at_once(caplog: pytest.LogCaptureFixture) -> None:
    tasks = [asyncio.create_task(asyncio.Event().wait()) for _ in range(3)]
    await asyncio.sleep(0)
    await watching._end([*tasks])
    assert all(task.cancelled() for task in tasks)
    assert "did not end" not in caplog.text
