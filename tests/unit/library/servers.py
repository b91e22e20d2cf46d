"""Backends of these tests."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from fastmcp import FastMCP

from support.backends import ServedMCP

STDIO = {"command": sys.executable, "args": [str(Path(__file__).parents[1] / "local" / "servers" / "tiny.py"), "show"]}
"""Its only tool, `show`, tells the variable TOKEN of its environment."""


def clock(**options: Any) -> ServedMCP:
    """A server with a good, a bad, a slow and a hidden tool."""
    mcp: FastMCP[Any] = FastMCP("clock", version="3")

    @mcp.tool
    def get_current_time(timezone: str = "UTC") -> dict[str, str]:
        """The time."""
        return {"timezone": timezone, "time": "12:00"}

    @mcp.tool
    def broken() -> str:
        raise ValueError("it broke")

    @mcp.tool
    async def slow() -> str:
        await asyncio.sleep(30)
        return "done"

    @mcp.tool
    def secret() -> str:
        return "hidden"

    return ServedMCP(mcp, **options)
