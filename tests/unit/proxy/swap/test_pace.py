"""Large work and many answers at once leave the event loop its turns."""

import asyncio
import time
from collections import Counter

from mcp_operator_proxy.swap.pace import TURN_SECONDS, Turns

PIECE_SECONDS = TURN_SECONDS / 4


async def test_a_turn_of_the_loop_takes_few_pieces_of_many_tasks() -> None:
    turns, now = Turns(), 0
    pieces: Counter[int] = Counter()

    async def work() -> None:
        await turns.turn()
        time.sleep(PIECE_SECONDS)  # noqa: ASYNC251 - a piece of work
        pieces[now] += 1

    working = [asyncio.create_task(work()) for _ in range(24)]
    while not all(task.done() for task in working):
        now += 1
        await asyncio.sleep(0)
    assert pieces.total() == 24
    assert max(pieces.values()) <= 4
