"""Large work in small turns: a swap of a thousand servers must not hold up the calls that run beside it."""

import asyncio
import time
from typing import Final

TURN_SECONDS: Final = 0.004
"""How long one turn of the event loop may take before large work steps back."""


class Pace:
    """`await` its `turn` after each small piece of work.

    Pieces run on until they have taken `TURN_SECONDS` together; then everything else gets its turn. When that took long
    (what the pieces have set off runs there too: connections being opened or closed), the next piece waits as long again.
    """

    def __init__(self) -> None:
        self._began = time.perf_counter()

    async def turn(self, *, sets_off_more: bool = False) -> None:
        """`sets_off_more`: the piece was short, but has begun something that runs in the turns of the event loop."""
        now = time.perf_counter()
        if not sets_off_more and now - self._began < TURN_SECONDS:
            return
        await asyncio.sleep(0)
        took = time.perf_counter() - now
        if took > TURN_SECONDS:
            await asyncio.sleep(took)
        self._began = time.perf_counter()


class Turns:
    """For many tasks at once, of one event loop: `await` a `turn` before each piece of work.

    Answers of many servers come in one turn of the loop; those that find `TURN_SECONDS` of it used up wait for the next one.
    """

    def __init__(self) -> None:
        self._began: float | None = None

    async def turn(self) -> None:
        while self._began is not None and time.perf_counter() - self._began >= TURN_SECONDS:  # noqa: ASYNC110 - it ends with the turn
            await asyncio.sleep(0)
        if self._began is None:
            self._began = time.perf_counter()
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._began = None
