"""An event loop whose time leaps: where it would wait, the moment that it waits for is there. A busy machine changes nothing.

For code that waits for nothing but time, on the loop's clock; a thread or another process would be overtaken.

@leaping
async def test_it() -> None:
    await asyncio.sleep(3600)
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")


class _Selector(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:  # without a timer there is nothing to leap to
            return super().select()
        self.now += max(timeout, 0)
        return ready


class Leaping(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._leaps = _Selector()
        super().__init__(self._leaps)

    def time(self) -> float:
        return self._leaps.now


def leaping(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test in such a loop."""

    @functools.wraps(test)
    def run(*arguments: P.args, **fixtures: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=Leaping) as runner:
            runner.run(test(*arguments, **fixtures))

    return run


def now() -> float:
    """Seconds on the clock of the loop that runs."""
    return asyncio.get_running_loop().time()
