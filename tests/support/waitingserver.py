"""A server whose tool `wait` holds its call until the test lets it go."""

import asyncio
from typing import Any

from fastmcp import FastMCP


class WaitingServer:
    """`begun` is set by a call of `wait`, `calls` counts them; with `end` set they answer "done"."""

    def __init__(self) -> None:
        self.begun, self.end = asyncio.Event(), asyncio.Event()
        self.calls = 0
        self.mcp: FastMCP[Any] = FastMCP("b")
        self.mcp.tool(self.wait)

    async def wait(self) -> str:
        self.calls += 1
        self.begun.set()
        await self.end.wait()
        return "done"
