"""Tasks that run beside: one that does not hear the first request to end ends all the same."""

import asyncio

import pytest

from mcp_operator_proxy.tasks import cancel, dismiss
from support.backends import eventually


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
