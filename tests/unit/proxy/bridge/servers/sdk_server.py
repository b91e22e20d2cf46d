"""A stdio MCP server written with FastMCP, as users write them."""

import asyncio

from fastmcp import Context, FastMCP

server = FastMCP("sdk")


@server.tool
def add(a: int, b: int) -> int:
    return a + b


@server.tool
async def count(to: int, label: str, ctx: Context) -> str:
    """Reports progress with its label, giving way in between."""
    for step in range(to):
        await ctx.report_progress(step, to, label)
        await asyncio.sleep(0)
    return label


@server.tool
async def confess(secret: str, ctx: Context) -> str:
    """Asks the client's user."""
    answer = await ctx.elicit(f"is it {secret}?", bool)
    return f"{secret}: {answer.action}"


@server.resource("note://{name}")
def note(name: str) -> str:
    return f"note of {name}"


@server.prompt
def greet(who: str) -> str:
    return f"Say hello to {who}"


if __name__ == "__main__":
    server.run("stdio", show_banner=False)
