"""Calls of what another replica has shown already: a server that this one has not listed yet is looked for first."""

import asyncio
from typing import Any

import pytest
from fastmcp import FastMCP
from mcp.shared.exceptions import MCPError

from mcp_operator_proxy.arrivals import may_show
from mcp_operator_proxy.config import Route
from support.backends import HungServer, ServedMCP, client, dead_port, eventually, free_port
from support.gateway import Gateway, make_config, running_gateway


def greeter() -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("greeter")

    @mcp.tool
    def greet() -> str:
        return "hello"

    return mcp


def state(running: Gateway) -> Any:
    return next(report for report in running.proxy.status().servers if report.id == "ns/c")


@pytest.mark.parametrize(
    ("naming", "prefixes", "name", "expected"),
    [
        ("{prefix}_{tool}", {"a": "a", "b": "b"}, "a_x", ["ns/a"]),
        ("{prefix}_{tool}", {"a": "a", "b": "b"}, "a_", []),
        ("{prefix}_{tool}", {"a": "a", "b": "b"}, "c_x", []),
        ("{prefix}_{tool}", {"a": "", "b": "b"}, "x", []),
        ("{namespace}.{server}.{tool}", {"a": "p", "b": "q"}, "ns.b.x", ["ns/b"]),
        ("{tool}-{prefix}", {"a": "a", "b": "b"}, "x-b", ["ns/b"]),
        ("{tool}-{prefix}", {"a": "a", "b": "b"}, "-b", []),
    ],
)
def test_whose_a_name_is(naming: str, prefixes: dict[str, str], name: str, expected: list[str]) -> None:
    servers = [{"server": f"ns/{server}", "prefix": prefix} for server, prefix in prefixes.items()]
    route = Route.model_validate({"name": "r", "path": "/mcp", "naming": naming, "servers": servers})
    assert may_show(route, name) == expected


@pytest.mark.parametrize("front", ["legacy", "auto"])
async def test_a_call_waits_for_a_server_that_has_just_come(front: str) -> None:
    """It came after the attempts that follow each other fast: by itself the proxy would look again seconds later."""
    port = free_port()
    served = ServedMCP(greeter())
    served.port = port
    more = {"server": {"retry": {"attempts": 1, "backoffSeconds": 300}}}
    config = make_config({"c": f"http://127.0.0.1:{port}/mcp"}, **more)
    async with running_gateway(config, warm_seconds=0) as running, client(running.url, front) as through:
        await eventually(lambda: state(running).error is not None)
        async with served:
            assert (await through.call_tool("c_greet", {})).data == "hello"
            assert [tool.name for tool in await through.list_tools()] == ["c_greet"]
            with pytest.raises(MCPError, match="Unknown tool: c_other"):
                await through.call_tool("c_other", {})


async def test_a_server_that_does_not_come_says_so() -> None:
    config = make_config({"c": f"http://127.0.0.1:{dead_port()}/mcp"})
    async with running_gateway(config, warm_seconds=0) as running, client(running.url) as through:
        with pytest.raises(MCPError, match="server ns/c: ") as caught:
            await through.call_tool("c_greet", {})
        assert caught.value.error.data == {"server": "ns/c", "errorClass": "ConnectionRefused", "executed": False}
        with pytest.raises(MCPError, match="server ns/c: "):
            await through.get_prompt("c_hello", {})
        with pytest.raises(MCPError, match="Unknown tool: d_greet"):
            await through.call_tool("d_greet", {})


async def test_only_calls_of_its_own_wait_for_a_hung_server() -> None:
    async with HungServer() as hung, ServedMCP(greeter()) as good:
        config = make_config({"hung": hung.url, "c": good.url}, each={"hung": {"connectTimeoutSeconds": 1.0}})
        async with running_gateway(config, warm_seconds=0) as running, client(running.url) as through:
            await eventually(lambda: state(running).state == "ready")
            waiting = asyncio.ensure_future(through.call_tool("hung_x", {}))
            await eventually(lambda: hung.connections)
            assert (await through.call_tool("c_greet", {})).data == "hello"
            assert [tool.name for tool in await through.list_tools()] == ["c_greet"]
            with pytest.raises(MCPError, match="server ns/hung: "):
                await waiting
