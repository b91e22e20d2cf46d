# ruff: noqa: SIM117 - nested, in the order in which they start
"""Lists in pages, their order, and what a route declares."""

from typing import Any

import pytest
from fastmcp import Client, FastMCP
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CompletionsCapability,
    PaginatedRequestParams,
    PromptReference,
    ResourcesCapability,
    ServerCapabilities,
)

from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.capabilities import TASKS, UI, narrow
from support.backends import ServedMCP, client
from support.gateway import make_config, running_gateway

FRONTS = ["legacy", "auto"]


def many(count: int) -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("many")

    def nothing() -> str:
        return "x"

    for number in range(count):
        mcp.tool(nothing, name=f"t{number}")
        mcp.resource(f"data://r{number}", name=f"r{number}")(nothing)

    @mcp.prompt
    def ask(topic: str, tone: str) -> str:
        return topic

    @mcp.completion
    def complete(ref: Any, argument: Any, context: Any) -> list[str]:
        return [f"{argument.value} {(context.arguments if context else {}).get('topic')}"]

    return mcp


def routes(page_size: int | None, *names: str) -> list[dict[str, Any]]:
    servers = [{"server": f"ns/{name}", "prefix": name} for name in names]
    return [{"name": "McpProxy/ns/tools", "path": "/mcp", "pageSize": page_size, "servers": servers}]


async def pages(through: Client[Any], size: int) -> list[str]:
    names: list[str] = []
    cursor: str | None = None
    while True:
        found = await through.session.list_tools(params=PaginatedRequestParams(cursor=cursor))
        assert len(found.tools) <= size
        names += [tool.name for tool in found.tools]
        if (cursor := found.next_cursor) is None:
            return names


@pytest.mark.parametrize("front", FRONTS)
async def test_pages(front: str) -> None:
    async with ServedMCP(many(5)) as served, ServedMCP(many(2)) as other:
        urls = {"a": served.url, "b": other.url}
        expected = [*(f"a_t{n}" for n in range(5)), "b_t0", "b_t1"]  # as configured, then as the server has them
        async with running_gateway(make_config(urls, routes=routes(3, "a", "b"))) as running:
            async with client(running.url, front) as through:
                assert await pages(through, 3) == expected
                assert [t.name for t in await through.list_tools()] == expected  # the client follows the cursors
                assert len(await through.list_resources()) == 7
                cursor = (await through.session.list_tools()).next_cursor
                await running.proxy.apply(make_config(urls, routes=routes(3, "b", "a")))  # it begins elsewhere now
                found = await through.session.list_tools(params=PaginatedRequestParams(cursor=cursor))
                assert [tool.name for tool in found.tools] == ["a_t3", "a_t4"]
                await running.proxy.apply(make_config({"b": other.url}, routes=routes(3, "b")))
                for wrong in (cursor, "nonsense"):
                    with pytest.raises(MCPError) as caught:
                        await through.session.list_tools(params=PaginatedRequestParams(cursor=wrong))
                    assert caught.value.code == INVALID_PARAMS


@pytest.mark.parametrize("front", FRONTS)
async def test_completion_gets_the_other_arguments(front: str) -> None:
    async with ServedMCP(many(1)) as served, running_gateway(make_config({"a": served.url})) as running:
        async with client(running.url, front) as through:
            found = await through.complete(
                PromptReference(type="ref/prompt", name="a_ask"),
                {"name": "tone", "value": "kind"},
                context_arguments={"topic": "cats"},
            )
            assert found.values == ["kind cats"]


OFFERED = Catalogue(completions=True, subscribe=True, extensions=frozenset({TASKS, "x/unknown"}))


@pytest.mark.parametrize(
    ("offered", "subscribe", "completions", "extensions"),
    [
        ([], False, False, None),
        ([Catalogue()], False, False, None),
        ([Catalogue(), OFFERED], True, True, {TASKS: {}}),
        ([Catalogue(extensions=frozenset({UI})), OFFERED], True, True, {TASKS: {}, UI: {}}),
    ],
)
def test_capabilities(
    offered: list[Catalogue], subscribe: bool, completions: bool, extensions: dict[str, Any] | None
) -> None:
    declared = ServerCapabilities(
        resources=ResourcesCapability(subscribe=True, list_changed=True),
        completions=CompletionsCapability(),
        extensions={UI: {}},
    )
    found = narrow(declared, offered)
    assert found.resources == ResourcesCapability(subscribe=subscribe, list_changed=True)
    assert (found.completions is not None) is completions
    assert found.extensions == extensions


def test_what_the_library_is_relied_on_for() -> None:
    """Both eras ask `get_capabilities` of the server, so what it says can be narrowed in one place."""
    server: Server[Any] = Server("x")
    said = ServerCapabilities(completions=CompletionsCapability())
    server.get_capabilities = lambda *_, **__: said  # type: ignore[method-assign]
    assert server.create_initialization_options().capabilities is said
    for private in ("_handle_discover", "get_request_handler"):
        assert hasattr(server, private), private
