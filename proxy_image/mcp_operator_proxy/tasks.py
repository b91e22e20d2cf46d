"""Ending tasks for certain."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

_AGAIN_SECONDS: Final = 0.5


async def cancel(tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """Cancel `tasks` and wait until all have ended.

    One request is not always enough: an anyio task group that is unwinding with an error of its own drops it.
    """
    waiting = {task for task in tasks if not task.done()}
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=_AGAIN_SECONDS)
