"""A server whose tool `wait` holds its call until the test lets it go."""

import asyncio
from typing import Any

from fastmcp import FastMCP


class WaitingServer:
    """`begun` is set by the call of `wait`; with `end` set it answers "done"."""

    def __init__(self) -> None:
        self.begun, self.end = asyncio.Event(), asyncio.Event()
        self.mcp: FastMCP[Any] = FastMCP("b")
        self.mcp.tool(self.wait)

    async def wait(self) -> str:
        self.begun.set()
        await self.end.wait()
        return "done"
