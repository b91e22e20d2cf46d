"""Tasks that run beside."""

import asyncio
import contextvars

import pytest

from mcp_operator_proxy.tasks import cancel, dismiss, keep, spawn
from support.backends import eventually

place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")


async def where() -> str:
    await asyncio.sleep(0)
    return place.get()


async def test_a_spawned_task_is_held_until_it_ends() -> None:
    held: set[asyncio.Task[str]] = set()
    place.set("here")
    task, empty = spawn(where(), held, "named"), spawn(where(), held, context=contextvars.Context())
    assert held == {task, empty}
    assert task.get_name() == "named"
    assert [await task, await empty] == ["here", "nowhere"]
    await eventually(lambda: not held)


async def test_a_failed_task_is_let_go_too() -> None:
    async def fail() -> None:
        raise LookupError("no")

    held: set[asyncio.Task[None]] = set()
    with pytest.raises(LookupError, match="no"):
        await spawn(fail(), held)
    await eventually(lambda: not held)


async def test_dismissed_tasks_are_held_while_they_clean_up() -> None:
    cleaned = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await cleaned.wait()

    running: set[asyncio.Task[None]] = set()
    ending: set[asyncio.Task[None]] = set()
    task = spawn(work(), running)
    await asyncio.sleep(0)
    dismiss([task], ending)
    await asyncio.sleep(0)
    assert task in ending
    assert not task.done(), "it is not interrupted again while it cleans up"
    cleaned.set()
    await eventually(lambda: not ending and not running)
    assert task.cancelled()


async def test_one_that_has_ended_already_is_let_go() -> None:
    held: set[asyncio.Task[str]] = set()
    task = asyncio.get_running_loop().create_task(where())
    await task
    assert keep(task, held) is task
    await cancel(held)
    await eventually(lambda: not held)


async def deaf(requests: list[int]) -> None:
    """Hears the second request."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            requests.append(1)
            if len(requests) > 1:
                raise


@pytest.mark.parametrize("waits", [True, False])
async def test_a_task_that_misses_a_request_to_end(monkeypatch: pytest.MonkeyPatch, waits: bool) -> None:
    monkeypatch.setattr("mcp_operator_proxy.tasks._AGAIN_SECONDS", 0.01)
    requests: list[int] = []
    task = asyncio.create_task(deaf(requests))
    await asyncio.sleep(0)
    held: set[asyncio.Task[None]] = set()
    if waits:
        await cancel([task])
    else:
        dismiss([task], held)
        assert task in held
        await eventually(task.done)
    assert task.cancelled()
    assert len(requests) == 2
    await eventually(lambda: not held)
