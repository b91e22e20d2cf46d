"""What a user's own servers have is found by that user alone, beside what all share."""

import asyncio
from typing import Any

import pytest
from fastmcp import Client, FastMCP

from support.backends import ServedMCP
from support.gateway import Gateway, running_gateway
from support.personal import Personal
from unit.proxy.users.setting import configured, key_of, keys, signed_in

NAMES = ("ann", "bob")


def shared() -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("shared")

    @mcp.tool(description="Tell who I am to everybody")
    def announce() -> str:
        return "hear"

    return mcp


async def found(gateway: Gateway, name: str, query: str) -> list[str]:
    async with Client(gateway.url, auth=key_of(name)) as through:
        result = await through.call_tool_mcp("find_tool", {"query": query, "limit": 100})
        return [tool["name"] for tool in (result.structured_content or {})["tools"]]


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
async def test_each_finds_what_is_his_own_and_what_all_share() -> None:
    personal = Personal([f"tok-{name}" for name in NAMES])
    async with ServedMCP(personal.mcp) as served, ServedMCP(shared()) as other:
        urls = {"p": served.url, "s": other.url}
        entries = [{"server": f"ns/{name}", "prefix": name} for name in urls]
        routes = [{"name": "McpRoute/ns/r", "path": "/mcp", "servers": entries, "findTools": True}]
        config = configured(urls, NAMES, routes=routes)
        async with running_gateway(config, keys(NAMES)) as gateway:
            await signed_in(gateway, *NAMES)
            answers = await asyncio.gather(*(found(gateway, name, "who am I, only tok announce") for name in NAMES * 4))
            for name, names in zip(NAMES * 4, answers, strict=True):
                assert {n for n in names if n.startswith("p_only_")} == {f"p_only_tok-{name}"}
                assert {"s_announce", "p_whoami"} <= set(names)
            registry = gateway.proxy.services.registry
            ann = gateway.proxy.state.authenticator.authenticate(None, key_of("ann").encode())  # type: ignore[union-attr]
            assert {"p.only_tok-ann", "s.announce"} <= {tool.id for tool in registry.tools(ann)}
            assert {tool.id for tool in registry.tools(None, "key/bob")} >= {"p.only_tok-bob"}
            assert [tool.id for tool in registry.tools()] == ["s.announce"]
            assert registry.find("p.only_tok-bob", ann) is None
            assert all(tool.available for tool in registry.tools(ann))
