"""An MCP server that is another one for each credential: its tools, results, resources, questions and words say whose it was."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from fastmcp import Context, FastMCP
from fastmcp.exceptions import NotFoundError
from fastmcp.server.dependencies import get_http_headers
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools import Tool

SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


def shown() -> str:
    """The credential of the request that is being answered."""
    return get_http_headers(include_all=True).get("authorization", "").removeprefix("Bearer ")


class Personal:
    """`tokens` are the credentials that it knows. Each of them has a tool `only_TOKEN` that no other sees or may call.

    `hide` takes it away, `refused` are credentials that it knows no more.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self.mcp: FastMCP[Any] = FastMCP("personal")
        self.hidden: set[str] = set()
        self.calls: Counter[str] = Counter()
        """By credential."""
        self.mcp.add_middleware(_Apart(self))
        for tool in (self.whoami, self.tell, self.ask, self.hold):
            self.mcp.tool(tool)
        for token in tokens:
            self.mcp.tool(self.whoami, name=f"only_{token}")
        self.mcp.resource("note://mine")(self.note)
        self.held: dict[str, asyncio.Event] = {}

    async def whoami(self, nonce: str = "") -> dict[str, str]:
        token = shown()
        self.calls[token] += 1
        await asyncio.sleep(0)
        return {"token": token, "nonce": nonce}

    async def tell(self, ctx: Context) -> str:
        """Report progress and log, each with the credential."""
        token = shown()
        for step in range(3):
            await ctx.report_progress(step, 3, f"for {token}")
            await ctx.info(f"for {token}")
            await asyncio.sleep(0)
        return token

    async def ask(self, ctx: Context) -> str:
        token = shown()
        result = await ctx.session.elicit_form(f"for {token}", SCHEMA, related_request_id=ctx.request_id)
        return f"{token}:{(result.content or {}).get('answer')}"

    async def hold(self, key: str) -> str:
        """Answer when `held[key]` is set."""
        token = shown()
        await self.held.setdefault(key, asyncio.Event()).wait()
        return token

    async def note(self) -> str:
        return f"note of {shown()}"


class _Apart(Middleware):
    def __init__(self, server: Personal) -> None:
        self._server = server

    async def on_list_tools(self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]) -> Sequence[Tool]:
        token = shown()
        return [
            tool
            for tool in await call_next(context)
            if _is_of(tool.name, token) and tool.name not in self._server.hidden
        ]

    async def on_call_tool(self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]) -> Any:
        if not _is_of(context.message.name, shown()):
            raise NotFoundError(f"this is not {context.message.name}'s owner")
        return await call_next(context)


def _is_of(tool: str, token: str) -> bool:
    return not tool.startswith("only_") or tool == f"only_{token}"
