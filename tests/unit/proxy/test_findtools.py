# ruff: noqa: SIM117 - nested, in the order in which they start
"""A route that lists two tools: all others are found by the one and called by the other, as if they were called themselves."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fastmcp import Client, Context, FastMCP
from fastmcp.exceptions import ToolError
from mcp.client import Client as SDKClient
from mcp.client.session import ClientRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitResult

from mcp_operator_proxy.access import AccessLog
from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.findtools import BadArguments, meant, wanted
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.serve import running
from mcp_operator_proxy.table import RouteTable
from support.backends import Ears, ServedMCP, client, eventually
from support.gateway import Gateway, make_config, running_gateway
from unit.proxy.eras.asking import AskingServer

FRONTS = ["legacy", "auto"]
BACKS = ["legacy", "both"]


def tools() -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("tools")

    @mcp.tool(description="Add two numbers")
    def add(a: int, b: int) -> int:
        return a + b

    @mcp.tool(description="Say when it is done")
    async def slow(ctx: Context) -> str:
        await ctx.report_progress(1, 2, "half")
        return "done"

    @mcp.tool(description="It never works")
    def broken() -> str:
        raise ToolError("out of paper")

    @mcp.tool(description="Sleep until it is cancelled")
    async def hang() -> str:
        await asyncio.Event().wait()
        return ""

    return mcp


def route(*names: str, prefix: bool = True, **more: Any) -> list[dict[str, Any]]:
    servers = [{"server": f"ns/{name}", "prefix": name if prefix else ""} for name in names]
    return [{"name": "McpRoute/ns/all", "path": "/mcp", "servers": servers, "findTools": True, **more}]


@contextlib.asynccontextmanager
async def finding(back: str = "both", **more: Any) -> AsyncIterator[Gateway]:
    async with ServedMCP(tools(), era=back) as served:
        async with running_gateway(make_config({"t": served.url}, routes=route("t"), **more)) as gateway:
            yield gateway


async def found(through: Client[Any], query: str, **more: Any) -> list[str]:
    result = await through.call_tool_mcp("find_tool", {"query": query, **more})
    assert not result.is_error
    assert result.structured_content is not None
    assert json.loads(result.content[0].text) == result.structured_content  # type: ignore[union-attr]
    return [tool["name"] for tool in result.structured_content["tools"]]


@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize("front", FRONTS)
async def test_two_tools_are_listed_and_the_others_found_and_called(front: str, back: str) -> None:
    progress: list[Any] = []

    async def on_progress(*values: Any) -> None:
        progress.append(values)

    async with finding(back) as gateway, client(gateway.url, front) as through:
        assert [tool.name for tool in await through.list_tools()] == ["find_tool", "call_tool"]
        assert (await found(through, "sum of numbers"))[0] == "t_add"
        assert await found(through, "add numbers", limit=1) == ["t_add"]
        result = await through.call_tool_mcp("find_tool", {"query": "add numbers", "limit": 1})
        (tool,) = (result.structured_content or {})["tools"]
        assert set(tool) == {"name", "description", "inputSchema"}
        assert set(tool["inputSchema"]["properties"]) == {"a", "b"}
        through_pair = await through.call_tool_mcp("call_tool", {"name": "t_add", "arguments": {"a": 1, "b": 2}})
        itself = await through.call_tool_mcp("t_add", {"a": 1, "b": 2})
        assert through_pair.model_dump(exclude={"meta"}) == itself.model_dump(exclude={"meta"})
        assert through_pair.structured_content == {"result": 3}
        failed = await through.call_tool_mcp("call_tool", {"name": "t_broken"})
        assert failed.is_error
        assert "out of paper" in failed.content[0].text  # type: ignore[union-attr]
        called = await through.call_tool("call_tool", {"name": "t_slow"}, progress_handler=on_progress)
        assert called.content[0].text == "done"  # type: ignore[union-attr]
        assert progress == [(1, 2, "half")]
        with pytest.raises(MCPError, match="Unknown tool: t_nothing"):
            await through.call_tool("call_tool", {"name": "t_nothing"})


@pytest.mark.parametrize("front", FRONTS)
async def test_wrong_arguments_are_told_to_the_model(front: str) -> None:
    async with finding() as gateway, client(gateway.url, front) as through:
        for name, arguments, why in (
            ("find_tool", {}, "needs a query"),
            ("find_tool", {"query": "  "}, "needs a query"),
            ("find_tool", {"query": "x", "limit": 0}, "from 1 to 100"),
            ("find_tool", {"query": "x", "limt": 3}, "no argument limt"),
            ("call_tool", {}, "needs the name"),
            ("call_tool", {"name": "call_tool", "arguments": {"name": "t_add"}}, "cannot call itself"),
            ("call_tool", {"name": "t_add", "arguments": "a"}, "must be an object"),
        ):
            result = await through.call_tool_mcp(name, arguments)
            assert result.is_error
            assert why in result.content[0].text  # type: ignore[union-attr]


@pytest.mark.parametrize("arguments", [None, 7, "x", [], {"name": 3}, {"name": ""}, {"name": "a", "arguments": []}])
def test_what_means_no_call(arguments: Any) -> None:
    with pytest.raises(BadArguments):
        meant({"name": "call_tool", "arguments": arguments})


@pytest.mark.parametrize("arguments", [None, 7, {"query": 3}, {"query": "x" * 2001}, {"query": "x", "limit": True}])
def test_what_asks_for_nothing(arguments: Any) -> None:
    with pytest.raises(BadArguments):
        wanted(arguments)


def test_what_a_call_says_beside_its_arguments_stays() -> None:
    params = {"name": "call_tool", "arguments": {"name": "x"}, "_meta": {"progressToken": 1}, "requestState": "s"}
    assert meant(params) == {"name": "x", "arguments": {}, "_meta": {"progressToken": 1}, "requestState": "s"}


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
@pytest.mark.parametrize(("front", "back"), [("legacy", "legacy"), ("legacy", "both"), ("auto", "legacy")])
async def test_a_tool_may_ask_its_caller(front: str, back: str) -> None:
    async def elicit(_: ClientRequestContext, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"answer": f"[{params.message}]"})

    async with ServedMCP(AskingServer().mcp, era=back) as served:
        async with running_gateway(make_config({"a": served.url}, routes=route("a"))) as gateway:
            async with SDKClient(gateway.url, mode=front, elicitation_callback=elicit) as through:
                result = await through.call_tool("call_tool", {"name": "a_ask", "arguments": {"who": "ann"}})
                assert "[for ann]" in result.content[0].text  # type: ignore[union-attr]


async def test_calls_are_logged_and_counted_by_the_real_name() -> None:
    written: list[bytes] = []
    async with ServedMCP(tools()) as served:
        async with Proxy(warm_seconds=20, access=AccessLog(written.append)) as proxy:
            await proxy.apply(make_config({"t": served.url}, routes=route("t")))
            async with running(proxy, "127.0.0.1", 0, grace_seconds=1) as server:
                async with client(f"http://127.0.0.1:{server.port}/mcp") as through:
                    await through.call_tool("call_tool", {"name": "t_add", "arguments": {"a": 1, "b": 2}})
                    await through.call_tool("t_add", {"a": 1, "b": 2})
                    await through.call_tool("find_tool", {"query": "add"})
            assert proxy.usage.tools["ns/t", "add"].calls == 2
    lines = [json.loads(line) for data in written for line in data.splitlines()]
    calls = [(line["name"], line.get("lane", False)) for line in lines if line.get("method") == "tools/call"]
    assert calls == [("t_add", False), ("t_add", True), ("find_tool", False)]


@dataclass(frozen=True)
class NoAdding:
    def refusal(self, principal: Principal | None, route: str, kind: str, name: str, entry: Any) -> str | None:  # noqa: ARG002
        return "you may not add" if name == "t_add" else None

    def visible(self, principal: Principal | None, table: RouteTable) -> RouteTable:
        kept = {n: e for n, e in table.tools.items() if self.refusal(principal, table.path, "tool", n, e) is None}
        return replace(table, tools=kept)

    async def shown(self, principal: Principal | None, table: RouteTable) -> RouteTable:
        return self.visible(principal, table)


@pytest.mark.parametrize("front", FRONTS)
async def test_what_may_not_be_called_is_neither_found_nor_called(front: str) -> None:
    async with finding() as gateway, client(gateway.url, front) as through:
        assert gateway.proxy.state is not None
        gateway.proxy.state = replace(gateway.proxy.state, policy=NoAdding())
        assert "t_add" not in await found(through, "add two numbers")
        for name, arguments in (("t_add", {"a": 1, "b": 1}), ("call_tool", {"name": "t_add", "arguments": {}})):
            with pytest.raises(MCPError, match="Unknown tool: t_add"):
                await through.call_tool(name, arguments)


KEY = "an-api-key-of-somebody"
POLICY = """permit(principal == ApiKey::"somebody", action == Action::"tools/call", resource)
when { resource.name == "add" };"""


@pytest.mark.parametrize("front", FRONTS)
async def test_policies_decide_what_is_found(front: str) -> None:
    async with ServedMCP(tools()) as served:
        config = make_config(
            {"t": served.url},
            routes=route("t"),
            auth={"apiKeys": [{"name": "somebody", "secret": {"file": "key"}}]},
            authorization={"policies": POLICY},
        )
        async with running_gateway(config, {"key": KEY}) as gateway:
            async with client(gateway.url, front, auth=KEY) as through:
                assert [tool.name for tool in await through.list_tools()] == ["find_tool", "call_tool"]
                assert await found(through, "add numbers, say when it is done, sleep", limit=100) == ["t_add"]
                called = await through.call_tool_mcp("call_tool", {"name": "t_add", "arguments": {"a": 1, "b": 2}})
                assert called.structured_content == {"result": 3}
                with pytest.raises(MCPError):
                    await through.call_tool("call_tool", {"name": "t_slow"})


@pytest.mark.parametrize("front", FRONTS)
async def test_a_call_ends_when_its_time_is_over(front: str) -> None:
    async with finding(server={"callTimeoutSeconds": 0.3}) as gateway, client(gateway.url, front) as through:
        with pytest.raises(MCPError, match=r"Timeout|did not answer|within"):
            await through.call_tool("call_tool", {"name": "t_hang"})


async def test_a_servers_own_tool_of_the_name_is_told_as_a_conflict() -> None:
    mcp = tools()

    @mcp.tool
    def find_tool() -> str:
        return "the server's own"

    async with ServedMCP(mcp) as served:
        config = make_config({"t": served.url}, routes=route("t", prefix=False))
        async with running_gateway(config) as gateway, client(gateway.url) as through:
            assert (await found(through, "add numbers"))[0] == "add"
            assert "find_tool" not in await found(through, "find tool", limit=100)
            (conflict,) = gateway.proxy.status().conflicts
            assert (conflict.name, conflict.winner, conflict.loser) == ("find_tool", "", "ns/t")


async def test_clients_are_told_when_their_list_changes_and_not_when_the_found_ones_do() -> None:
    mcp, ears = tools(), Ears()
    often = {"refreshSeconds": 0.2}
    async with ServedMCP(mcp) as served:
        config = make_config({"t": served.url}, routes=route("t"), server=often)
        async with running_gateway(config) as gateway:
            async with client(gateway.url, "legacy", message_handler=ears) as through:

                @mcp.tool(description="Water the plants")
                def water() -> str:
                    return "wet"

                await eventually(lambda: gateway.proxy.services.registry.get("t.water"))
                assert (await found(through, "water the plants"))[0] == "t_water"
                assert ears.heard == []
                await gateway.proxy.apply(
                    make_config({"t": served.url}, routes=route("t", findTools=False), server=often)
                )
                await eventually(lambda: "notifications/tools/list_changed" in ears.heard)
                assert "t_water" in [tool.name for tool in await through.list_tools()]
                with pytest.raises(MCPError, match="Unknown tool: find_tool"):
                    await through.call_tool("find_tool", {"query": "x"})
