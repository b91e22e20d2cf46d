"""An MCP server with as many tools as it is told, for the end-to-end tests.

Environment: PORT (8080), NAME (backend), TOOLS (comma-separated names of tools that answer with their own name), MODE
(`mcp`, `garbage` for an HTTP server that speaks no MCP, `hang` for one that never answers), REQUIRE (the Authorization header
without which it answers 401; a request for /healthz needs none).
"""

import asyncio
import os

import uvicorn
from fastmcp import Context, FastMCP
from fastmcp.server.dependencies import get_http_headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

NAME = os.environ.get("NAME", "backend")
mcp = FastMCP(NAME, version="1.2.3")


def _answering(name: str) -> None:
    @mcp.tool(name=name)
    def tool() -> str:
        """Answers with its server's name and its own."""
        return f"{NAME}/{name}"


for tool_name in filter(None, os.environ.get("TOOLS", "hello").split(",")):
    _answering(tool_name)


@mcp.tool
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@mcp.tool
def authorization() -> str:
    """Tells the Authorization header that this request came with."""
    return get_http_headers(include_all=True).get("authorization", "")


@mcp.tool
async def slow(seconds: float, context: Context) -> str:
    """Answers after a while, with progress on the way."""
    for step in range(4):
        await context.report_progress(step, 4)
        await asyncio.sleep(seconds / 4)
    return "done"


@mcp.tool
def die() -> None:
    """Ends the whole server at once, as a crash would."""
    os._exit(3)


@mcp.resource("data://about")
def about() -> str:
    """About this server."""
    return f"about {NAME}"


@mcp.resource("data://items/{item}")
def item(item: str) -> str:
    """One item."""
    return f"{NAME} item {item}"


@mcp.prompt
def greet(who: str) -> str:
    """A greeting to write."""
    return f"Greet {who} from {NAME}."


class Guard:
    """Answers 401 without the header that REQUIRE names."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        required = os.environ.get("REQUIRE")
        if scope["type"] == "http" and required and dict(scope["headers"]).get(b"authorization") != required.encode():
            await PlainTextResponse("unauthorized", 401)(scope, receive, send)
            return
        await self.app(scope, receive, send)


async def garbage(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await PlainTextResponse("<html>I am a web site</html>", media_type="text/html")(scope, receive, send)


async def hang(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await asyncio.Event().wait()


def main() -> None:
    apps = {"mcp": lambda: Guard(mcp.http_app()), "garbage": lambda: garbage, "hang": lambda: hang}
    app = apps[os.environ.get("MODE", "mcp")]()
    uvicorn.run(
        app,
        host="0.0.0.0",
        port=int(os.environ.get("PORT", "8080")),
        log_level="warning",
        lifespan="auto",
        timeout_graceful_shutdown=2,
    )


main()
