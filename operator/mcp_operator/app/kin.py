"""Tasks that a piece of code has begun, and those that they have begun in turn: all can be ended, and nobody else's.

kopf leaves that to whoever runs it: when one of its watches fails, its orchestrator ends while the other watches go on, and
`kopf.operator()` then cancels every task of the process that is younger than itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar
from weakref import WeakKeyDictionary, ref

T = TypeVar("T")
Task: TypeAlias = "asyncio.Task[Any]"
_ROUNDS: Final = 2


class Kin:
    """All that begins in `run`, and what it begins later."""

    def __init__(self) -> None:
        self._members: WeakKeyDictionary[Task, _Member] = WeakKeyDictionary()
        self._outside = copy_context()

    async def run(self, beginning: Awaitable[T]) -> T:
        """Await it; each task that it begins belongs here.

        Raises:
            RuntimeError: the event loop has a task factory of somebody else's.
        """
        _trace(asyncio.get_running_loop())
        token = _CURRENT.set(_Member(self))
        try:
            return await beginning
        finally:
            _CURRENT.reset(token)

    def outside(self, call: Callable[..., None]) -> Callable[..., None]:
        """The same call, which does not wait: whoever makes it, tasks that it begins do not belong here."""
        return lambda *args: self._outside.copy().run(call, *args)

    def living(self) -> list[Task]:
        """Those that have not ended yet."""
        return [task for task in list(self._members) if not task.done()]

    async def end(self, seconds: float) -> list[Task]:
        """Cancel them, and return those that have not ended.

        First go those that nobody would end any more, then whoever began others, as it may end these in its own way and needs
        them until then. Each is given `seconds`, and is cancelled a second time where that was not enough.
        """
        for _ in range(_ROUNDS):
            while living := self.living():
                orphans = [task for task in living if self._members[task].is_orphan]
                tasks = orphans or [task for task in living if self._members[task].parent is None]
                for task in tasks:
                    task.cancel()
                done, left = await asyncio.wait(tasks, timeout=seconds)
                for task in done:
                    if not task.cancelled():
                        task.exception()  # it is known: whoever waits for the first one raises it
                if left:
                    break
        return self.living()


@dataclass(slots=True)
class _Member:
    """One task, as those that it begins know it. It has no parent where `Kin.run` began it."""

    kin: Kin
    parent: "ref[Task] | None" = None
    task: "ref[Task] | None" = None

    @property
    def is_orphan(self) -> bool:
        if self.parent is None:
            return False
        parent = self.parent()
        return parent is None or parent.done()


_CURRENT: ContextVar[_Member | None] = ContextVar("kin", default=None)
"""Whose context this is."""


def _trace(loop: asyncio.AbstractEventLoop) -> None:
    """Have the loop note whose each new task is: a task itself does not know who began it."""
    before = loop.get_task_factory()
    if before is None:
        loop.set_task_factory(_begin)
    elif before is not _begin:
        raise RuntimeError("the event loop has a task factory of somebody else's")


def _begin(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
    *,
    context: Context | None = None,
    **more: Any,
) -> "asyncio.Task[T]":
    current = _CURRENT.get()
    if current is None:
        return asyncio.Task(coro, loop=loop, context=context, **more)
    member = _Member(current.kin, parent=current.task)
    own = copy_context() if context is None else context
    own.run(_CURRENT.set, member)
    task = asyncio.Task(coro, loop=loop, context=own, **more)
    member.task = ref(task)
    member.kin._members[task] = member  # noqa: SLF001 - of the same file
    return task
