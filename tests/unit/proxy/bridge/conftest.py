from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from mcp_operator_proxy.bridge.server import Bridge
from support.children import children
from unit.proxy.bridge.harness import Client, http_client, running, settings

Start = Callable[..., Awaitable[Bridge]]
Connect = Callable[..., Awaitable[Client]]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def start(stack: AsyncExitStack) -> AsyncIterator[Start]:
    """Starts a bridge; at the end of the test it is stopped and none of its processes is left."""
    before = {child.pid for child in children()}

    async def begin(*command: str, **changes: Any) -> Bridge:
        return await stack.enter_async_context(running(settings(command or None, **changes)))

    yield begin
    await stack.aclose()
    assert [child for child in children() if child.pid not in before] == []


@pytest.fixture
async def connect(start: Start, stack: AsyncExitStack) -> Connect:
    """Opens HTTP sessions with a bridge."""

    async def begin(bridge: Bridge, *, initialize: bool = True) -> Client:
        http = await stack.enter_async_context(http_client())
        client = Client(bridge.url, http)
        if initialize:
            answer = await client.initialize()
            assert "result" in answer, answer
        return client

    return begin
