"""Clients that come, call once and go, without pause: what they meet while pods are replaced under them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

from fastmcp import Client
from mcp.client.client import Client as SDKClient


class Visitors:
    """`size` of them at once, half of each protocol era, each visit on connections of its own. Use as `async with`."""

    def __init__(self, url: str, tool: str, arguments: dict[str, Any], expected: str, *, size: int = 4) -> None:
        self._url = url
        self._tool = tool
        self._arguments = arguments
        self._expected = expected
        self._size = size
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.calls = 0
        self.failures: list[str] = []

    async def __aenter__(self) -> Self:
        visits = (self._legacy, self._modern)
        self._tasks = [asyncio.create_task(self._keep(visits[number % 2])) for number in range(self._size)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def more_calls(self, count: int) -> None:
        """Until so many more calls were made."""
        wanted = self.calls + count
        while self.calls < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    async def _keep(self, visit: Callable[[], Awaitable[Any]]) -> None:
        while not self._stopping:
            try:
                result = await visit()
                if result.is_error or result.content[0].text != self._expected:
                    self.failures.append(f"wrong answer: {result.content}")
            except Exception as error:  # noqa: BLE001 - noted
                self.failures.append(f"{type(error).__name__}: {error}")
                await asyncio.sleep(0.05)
            self.calls += 1

    async def _legacy(self) -> Any:
        async with Client(self._url, mode="legacy", timeout=30) as client:
            return await client.call_tool_mcp(self._tool, self._arguments)

    async def _modern(self) -> Any:
        async with SDKClient(self._url, mode="auto", read_timeout_seconds=30) as client:
            return await client.call_tool(self._tool, self._arguments)
