"""A stdio MCP server made with the SDK that serves the 2026-07-28 era alone: it refuses `initialize`.

The SDK has bound the process to the handshake eras when it refuses, so it takes another process to reach it.
"""

from typing import Any

from mcp.server import MCPServer
from mcp.shared.exceptions import MCPError
from mcp_types import UNSUPPORTED_PROTOCOL_VERSION


async def modern_alone(ctx: Any, call_next: Any) -> Any:
    if ctx.method == "initialize":
        raise MCPError(UNSUPPORTED_PROTOCOL_VERSION, "no handshake", {"supported": ["2026-07-28"], "requested": ""})
    return await call_next(ctx)


server = MCPServer("sdk", middleware=[modern_alone])


@server.tool()
def add(a: int, b: int) -> int:
    return a + b


server.run("stdio")
