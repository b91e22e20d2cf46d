"""Tasks that run beside: kept until they end, and ended for certain."""

import asyncio
from collections.abc import Coroutine, Iterable
from contextvars import Context
from typing import Any, Final, TypeVar

T = TypeVar("T")
_AGAIN_SECONDS: Final = 0.5


def spawn(
    work: Coroutine[Any, Any, T], into: "set[asyncio.Task[T]]", name: str | None = None, context: Context | None = None
) -> "asyncio.Task[T]":
    """Run `work` beside, in the running loop. `into` holds the task until it ends: the loop itself does not."""
    return keep(asyncio.get_running_loop().create_task(work, name=name, context=context), into)


def keep(task: "asyncio.Task[T]", into: "set[asyncio.Task[T]]") -> "asyncio.Task[T]":
    """Hold `task` in `into` until it ends."""
    into.add(task)
    task.add_done_callback(into.discard)
    return task


def dismiss(tasks: "Iterable[asyncio.Task[None]]", into: "set[asyncio.Task[None]]") -> None:
    """Cancel `tasks` without waiting, as often as it takes; `into` holds each until it has ended."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
        keep(task, into)
    if ending:
        spawn(_ended(set(ending)), into)


async def cancel(tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """Cancel `tasks` and wait until all have ended.

    One request is not always enough: an anyio task group that is unwinding with an error of its own drops it, and so does what
    waits with a timeout that is over at the same moment.
    """
    waiting = {task for task in tasks if not task.done()}
    for task in waiting:
        task.cancel()
    await _ended(waiting)


async def _ended(waiting: "set[asyncio.Task[Any]]") -> None:
    """Of those that have been cancelled."""
    while waiting:
        _, waiting = await asyncio.wait(waiting, timeout=_AGAIN_SECONDS)
        for task in waiting:
            task.cancel()
