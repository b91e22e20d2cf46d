"""Servers of these tests."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from fastmcp import FastMCP
from fastmcp.server.middleware import Middleware, MiddlewareContext
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult

from support.backends import ServedMCP

STDIO = {"command": sys.executable, "args": [str(Path(__file__).parent / "noisy.py")]}
"""Writes to standard error. Its tool `pid` tells the process id, `end` ends the process."""


class _Refusing(Middleware):
    async def on_call_tool(self, context: MiddlewareContext[Any], call_next: Any) -> Any:
        if context.message.name == "refuses":
            raise MCPError(-32050, "not today")
        return await call_next(context)


def calculator(**options: Any) -> ServedMCP:
    """One tool for each way that a call can end."""
    mcp: FastMCP[Any] = FastMCP("calculator", version="7")

    @mcp.tool(annotations={"readOnlyHint": True})
    def add(a: int, b: int = 1) -> int:
        """The sum of two numbers."""
        return a + b

    @mcp.tool
    def divide(a: int, b: int) -> float:
        """The quotient of two numbers."""
        if b == 0:
            raise ValueError("division by zero")
        return a / b

    @mcp.tool
    async def slow() -> str:
        """Takes a minute."""
        await asyncio.sleep(60)
        return "done"

    @mcp.tool
    async def asks() -> Any:
        """Asks its user."""
        params = ElicitRequestFormParams(message="really?", requested_schema={"type": "object", "properties": {}})
        return InputRequiredResult(input_requests={"q": ElicitRequest(params=params)}, request_state="1")

    @mcp.tool
    def refuses() -> str:
        """Refuses by an error of the protocol."""
        return ""

    mcp.add_middleware(_Refusing())
    return ServedMCP(mcp, **options)
