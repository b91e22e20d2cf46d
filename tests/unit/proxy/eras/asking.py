"""A server whose tools ask their caller in the middle of a call."""

import asyncio
from typing import Any

from fastmcp import Context, FastMCP
from mcp.shared.exceptions import MCPError
from mcp_types import SamplingMessage, TextContent

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


class AskingServer:
    """`cancelled` is set when a call was cancelled; `go` lets the tool `chatty` go on."""

    def __init__(self) -> None:
        self.mcp: FastMCP[Any] = FastMCP("asking")
        self.cancelled = asyncio.Event()
        self.go = asyncio.Event()
        self.runs = 0
        for tool in (self.ask, self.thrice, self.several, self.sample, self.roots, self.visit, self.chatty, self.plain):
            self.mcp.tool(tool)
        self.mcp.prompt(self.prompted)
        self.mcp.resource("data://asked/{key}")(self.asked)

    async def _elicit(self, ctx: Context, message: str) -> str:
        try:
            result = await ctx.session.elicit_form(message, SCHEMA, related_request_id=ctx.request_id)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        except MCPError as error:
            return f"error {error.error.code}: {error.error.message}"
        return f"{result.action} {(result.content or {}).get('answer')}"

    async def _sample(self, ctx: Context, text: str) -> str:
        message = SamplingMessage(role="user", content=TextContent(type="text", text=text))
        try:
            result = await ctx.session.create_message([message], max_tokens=5, related_request_id=ctx.request_id)
        except MCPError as error:
            return f"error {error.error.code}: {error.error.message}"
        return str(result.content.text)  # type: ignore[union-attr]

    async def ask(self, ctx: Context, who: str = "you") -> str:
        self.runs += 1
        return await self._elicit(ctx, f"for {who}")

    async def thrice(self, ctx: Context) -> str:
        return ", ".join([await self._elicit(ctx, f"question {number}") for number in (1, 2, 3)])

    async def several(self, ctx: Context) -> str:
        return ", ".join(
            await asyncio.gather(self._elicit(ctx, "one"), self._elicit(ctx, "two"), self._sample(ctx, "3"))
        )

    async def sample(self, ctx: Context) -> str:
        return await self._sample(ctx, "say")

    async def roots(self, ctx: Context) -> str:
        return str((await ctx.session.list_roots()).roots[0].uri)

    async def visit(self, ctx: Context) -> str:
        try:
            result = await ctx.session.elicit_url("log in", "https://example.org/", "id-7", ctx.request_id)
        except MCPError as error:
            return f"error {error.error.code}: {error.error.message}"
        return result.action

    async def chatty(self, ctx: Context) -> str:
        asking = asyncio.create_task(self._elicit(ctx, "ask"))
        await self.go.wait()
        await ctx.info("while you were away")
        await ctx.report_progress(1, 2, "half")
        return await asking

    async def plain(self) -> str:
        return "plain"

    async def prompted(self, ctx: Context) -> str:
        return await self._elicit(ctx, "for a prompt")

    async def asked(self, key: str, ctx: Context) -> str:
        return await self._elicit(ctx, f"for {key}")
