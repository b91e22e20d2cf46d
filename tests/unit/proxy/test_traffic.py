# ruff: noqa: SIM117 - nested, in the order in which they start
"""Everything that goes through, in all four combinations of protocol eras."""

import asyncio
from typing import Annotated, Any

import pytest
from fastmcp import Client, Context, FastMCP
from fastmcp.tools.base import ToolResult
from mcp.shared.exceptions import MCPError
from mcp_types import ImageContent, PromptReference, ResourceTemplateReference, TextContent, ToolAnnotations
from pydantic import BaseModel, Field

from support.backends import ServedMCP, client, eventually
from support.gateway import make_config, running_gateway

FRONTS = ["legacy", "auto"]
BACKS = ["legacy", "both"]


def everything() -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("everything", version="7")

    @mcp.tool(title="Add!", annotations=ToolAnnotations(readOnlyHint=True), meta={"vendor": {"a": 1}})
    def add(a: int, b: int = 2) -> int:
        """Add two numbers."""
        return a + b

    @mcp.tool
    def rich() -> ToolResult:
        return ToolResult(
            content=[TextContent(type="text", text="t"), ImageContent(type="image", data="aGk=", mimeType="image/png")],
            structured_content={"deep": {"x": [1, None]}},
            meta={"trace": "1"},
        )

    @mcp.tool
    def broken() -> str:
        raise ValueError("it broke")

    @mcp.tool
    async def slow(ctx: Context) -> str:
        await ctx.report_progress(1, 2, "half")
        await ctx.info("working")
        return "done"

    @mcp.resource("data://one", name="one", mime_type="application/json")
    def one() -> str:
        return "1"

    @mcp.resource("data://item/{key}")
    def item(key: str) -> str:
        return key

    @mcp.resource("data://bytes")
    def binary() -> bytes:
        return b"\x00\x01"

    @mcp.prompt
    def ask(topic: str) -> str:
        return f"Tell me of {topic}"

    @mcp.completion
    def complete(ref: Any, argument: Any, context: Any) -> list[str]:
        return [f"{argument.value}{end}" for end in ("1", "2")]

    return mcp


@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize("front", FRONTS)
async def test_all_kinds_go_through(front: str, back: str) -> None:
    async with ServedMCP(everything(), era=back) as served, running_gateway(make_config({"e": served.url})) as running:
        (report,) = running.proxy.status().servers
        assert (report.protocol_version or "") == ("2025-11-25" if back == "legacy" else "2026-07-28")
        assert (report.server_name, report.server_version, report.state) == ("everything", "7", "ready")
        async with client(served.url, front) as direct, client(running.url, front) as through:
            await _tools(direct, through)
            await _resources(direct, through)
            prompt = (await through.list_prompts())[0]
            assert (prompt.name, prompt.arguments) == ("e_ask", (await direct.list_prompts())[0].arguments)
            got = await through.get_prompt("e_ask", {"topic": "cats"})
            assert got.messages == (await direct.get_prompt("ask", {"topic": "cats"})).messages
        calls = [m for m in served.methods if m == "tools/call"]
        assert len(calls) == 4 + 3  # four through the proxy and three direct ones: one request for a call


async def _tools(direct: Client[Any], through: Client[Any]) -> None:
    own = {f"e_{t.name}": t.model_dump(exclude={"name"}) for t in await direct.list_tools()}
    assert {t.name: t.model_dump(exclude={"name"}) for t in await through.list_tools()} == own
    for name, arguments in (("add", {"a": 1}), ("rich", {}), ("broken", {})):
        expected = await direct.call_tool_mcp(name, arguments)
        result = await through.call_tool_mcp(f"e_{name}", arguments)
        assert result.model_dump(exclude={"meta"}) == expected.model_dump(exclude={"meta"})
    meta = (await through.call_tool_mcp("e_rich", {})).meta or {}
    assert meta["trace"] == "1"
    assert (
        meta.get("io.modelcontextprotocol/serverInfo", {"name": "mcp-operator-proxy"})["name"] == "mcp-operator-proxy"
    )


async def _resources(direct: Client[Any], through: Client[Any]) -> None:
    shown = {str(r.uri): r.mime_type for r in await through.list_resources()}
    assert shown == {"data://e/one": "application/json", "data://e/bytes": "text/plain"}
    assert [t.uri_template for t in await through.list_resource_templates()] == ["data://e/item/{key}"]
    for uri in ("data://one", "data://item/7", "data://bytes"):
        exposed = uri.replace("data://", "data://e/")
        expected = await direct.read_resource(uri)
        got = await through.read_resource(exposed)
        assert [str(c.uri) for c in got] == [exposed]
        assert [c.model_dump(exclude={"uri"}) for c in got] == [c.model_dump(exclude={"uri"}) for c in expected]


@pytest.mark.parametrize("front", FRONTS)
async def test_unknown_names(front: str) -> None:
    async with ServedMCP(everything()) as served, running_gateway(make_config({"e": served.url})) as running:
        async with client(running.url, front) as through:
            for ask in (
                through.call_tool("add", {}),
                through.get_prompt("ask", {}),
                through.read_resource("data://nobody/one"),
                through.read_resource("data://e/missing"),
            ):
                with pytest.raises(MCPError) as caught:
                    await ask
                assert caught.value.code in (-32602, -32002)


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")  # the backend logs on purpose
@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize("front", FRONTS)
async def test_progress_and_logs_reach_the_caller(front: str, back: str) -> None:
    progress: list[Any] = []
    logs: list[Any] = []

    async def on_progress(*values: Any) -> None:
        progress.append(values)

    async def on_log(message: Any) -> None:
        logs.append(message.data)

    async with ServedMCP(everything(), era=back) as served, running_gateway(make_config({"e": served.url})) as running:
        async with client(running.url, front, log_handler=on_log) as through:
            meta = {"io.modelcontextprotocol/logLevel": "info"} if front == "auto" else None
            result = await through.call_tool("e_slow", {}, progress_handler=on_progress, meta=meta)
            assert result.data == "done"
            assert progress == [(1, 2, "half")]
            # A modern client asks for logs with each request, which a legacy backend cannot tell apart.
            assert [log["msg"] for log in logs] == ["working"]


@pytest.mark.parametrize("front", FRONTS)
async def test_completion(front: str) -> None:
    async with ServedMCP(everything()) as served, running_gateway(make_config({"e": served.url})) as running:
        async with client(running.url, front) as through:
            for ref in (
                PromptReference(type="ref/prompt", name="e_ask"),
                ResourceTemplateReference(type="ref/resource", uri="data://e/item/{key}"),
            ):
                values = await through.complete(ref, {"name": "topic", "value": "c"})
                assert values.values == ["c1", "c2"]


async def test_headers_reach_the_backend_and_the_callers_do_not() -> None:
    mcp: FastMCP[Any] = FastMCP("h")

    @mcp.tool
    def ok() -> str:
        return "ok"

    headers = [{"name": "Authorization", "secret": {"file": "tok"}}, {"name": "X-Plain", "value": "p"}]
    async with ServedMCP(mcp) as served:
        config = make_config({"h": served.url}, server={"headers": headers})
        async with running_gateway(config, {"tok": "Bearer backend-secret"}) as running:
            for front in FRONTS:
                async with Client(running.url, mode=front, auth="caller-secret") as through:
                    await through.call_tool("h_ok", {})
            assert served.requests
            assert {r.get("authorization") for r in served.requests} == {"Bearer backend-secret"}
            assert {r.get("x-plain") for r in served.requests} == {"p"}
            assert "backend-secret" not in (await running.get("/status")).text


async def test_an_sse_backend_is_found_out() -> None:
    async with (
        ServedMCP(everything(), transport="sse") as served,
        running_gateway(make_config({"e": served.url})) as running,
    ):
        (report,) = running.proxy.status().servers
        assert (report.state, report.transport) == ("ready", "sse")
        for front in FRONTS:
            async with client(running.url, front) as through:
                assert (await through.call_tool("e_add", {"a": 1})).data == 3


async def test_a_schema_keeps_its_definitions_and_header_parameters_are_checked() -> None:
    class Point(BaseModel):
        x: int

    mcp: FastMCP[Any] = FastMCP("s", dereference_schemas=False)

    @mcp.tool
    def draw(points: list[Point]) -> int:
        return len(points)

    async with ServedMCP(mcp) as served, running_gateway(make_config({"s": served.url})) as running:
        async with client(running.url) as through:
            (tool,) = await through.list_tools()
            assert "$defs" in tool.input_schema
            assert (await through.call_tool("s_draw", {"points": [{"x": 1}]})).data == 1
        assert served.methods.count("tools/list") == 1


async def test_a_modern_backend_gets_the_header_of_an_argument_that_wants_one() -> None:
    mcp: FastMCP[Any] = FastMCP("s", dereference_schemas=False)

    @mcp.tool
    def locate(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
        return region

    async with ServedMCP(mcp) as served, running_gateway(make_config({"s": served.url})) as running:
        for front in ("legacy", "auto"):
            async with client(running.url, front) as through:
                await through.list_tools()
                assert (await through.call_tool("s_locate", {"region": "eu"})).data == "eu"
                assert served.requests[-1]["mcp-param-region"] == "eu"
                assert served.requests[-1]["mcp-name"] == "locate"


async def test_headers_of_the_exchange_itself_cannot_be_configured() -> None:
    headers = [{"name": name, "value": "x"} for name in ("Host", "Content-Type", "Mcp-Session-Id", "X-Mine")]
    async with ServedMCP(everything()) as served:
        async with running_gateway(make_config({"e": served.url}, server={"headers": headers})) as running:
            assert running.proxy.status().servers[0].state == "ready"
            assert served.requests[-1]["x-mine"] == "x"


async def test_sessions_leave_nothing_behind() -> None:
    async with (
        ServedMCP(everything(), era="legacy") as served,
        running_gateway(make_config({"e": served.url}, server={"connectTimeoutSeconds": 60})) as running,
    ):

        async def visit() -> None:
            async with client(running.url, "legacy") as through:
                await through.call_tool("e_add", {"a": 1})

        await visit()
        await eventually(lambda: running.proxy.status().sessions == 0)
        await eventually(lambda: served.verbs.count("DELETE") == 1)
        before = len(asyncio.all_tasks())
        await asyncio.gather(*(visit() for _ in range(20)))
        await eventually(lambda: served.verbs.count("DELETE") == 21)
        await eventually(lambda: len(asyncio.all_tasks()) <= before)
        assert running.proxy.status().sessions == 0
