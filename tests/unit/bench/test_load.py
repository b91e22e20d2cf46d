"""The load generator against a real backend on loopback."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from bench.backend import Backend, _Connection
from bench.load import Failed, counted, measure, opened, quiet


@pytest.fixture
async def served() -> AsyncIterator[tuple[Backend, str]]:
    backend = Backend(sse=False)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(backend), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield backend, f"http://127.0.0.1:{port}"
    server.close()


@pytest.mark.parametrize("sse", [False, True])
@pytest.mark.parametrize(
    ("front", "opening"), [("legacy", {"initialize": 3, "notifications/initialized": 3}), ("modern", {})]
)
async def test_every_call_is_made_once_and_counted(
    served: tuple[Backend, str], front: str, opening: dict[str, int], *, sse: bool
) -> None:
    backend, base = served
    backend.sse = sse
    clients = await opened(f"{base}/mcp", front, 3, headers={}, method="tools/call", tool="echo")  # type: ignore[arg-type]
    assert backend.counts == opening
    sample = await measure(clients, calls=50, seconds=30, pids=[os.getpid()], counts=f"{base}/counts")
    for client in clients:
        await client.close()
    assert (sample.calls, sample.errors, sample.backend_requests) == (50, 0, 50)
    assert sample.p50 <= sample.p99 <= sample.longest
    assert await counted(f"{base}/counts") == (3 if front == "legacy" else 0)  # the ends of the sessions


async def test_errors_are_counted_and_told(served: tuple[Backend, str]) -> None:
    backend, base = served
    clients = await opened(f"{base}/mcp", "modern", 2, headers={}, method="tools/call", tool="echo")
    del backend.results["tools/call"]
    sample = await measure(clients, calls=10, seconds=30)
    assert (sample.calls, sample.errors) == (0, 10)
    assert "Method not found" in sample.problems[0]
    for client in clients:
        await client.close()


async def test_a_server_of_another_era_fails_before_anything_is_measured(served: tuple[Backend, str]) -> None:
    backend, base = served
    del backend.results["initialize"]
    with pytest.raises(Failed, match="initialize: error"):
        await opened(f"{base}/mcp", "legacy", 1, headers={}, method="tools/call", tool="echo")


async def test_it_waits_until_the_backend_hears_nothing_any_more(served: tuple[Backend, str]) -> None:
    backend, base = served
    backend.counts["DELETE"] = 3
    await quiet(f"{base}/counts", within=60)
    assert not backend.counts
