# ruff: noqa: SIM117 - nested, in the order in which they start
"""The registry of a real proxy over real servers: current, for the caller alone, and told what does not answer."""

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fastmcp import FastMCP

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.registry import indexing
from mcp_operator_proxy.registry.registry import Registry
from mcp_operator_proxy.table import RouteTable
from support.backends import ServedMCP, eventually
from support.gateway import make_config, running_gateway

OFTEN = {"refreshSeconds": 0.2, "connectTimeoutSeconds": 60}
"""One that has gone refuses connections at once; one that is there has time to answer."""
ALICE, BOB = Principal("alice"), Principal("bob")


@pytest.fixture(autouse=True)
def _patient_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that shows what has just changed is waited for, however busy the machine is."""
    monkeypatch.setattr(indexing, "PATIENCE_SECONDS", 60.0)


def server(**tools: str) -> FastMCP[Any]:
    """Tools by name, with their descriptions."""
    mcp: FastMCP[Any] = FastMCP("tools")
    for name, about in tools.items():

        def tool(text: str = "") -> str:
            return text

        mcp.tool(tool, name=name, description=about)
    return mcp


@dataclass(frozen=True)
class Refusing:
    """A policy: nobody may use these tools, but for `friend`."""

    names: frozenset[str]
    friend: Principal

    def refusal(self, principal: Principal | None, route: str, kind: str, name: str, entry: Any) -> str | None:  # noqa: ARG002
        return "no" if name in self.names and principal != self.friend else None

    def visible(self, principal: Principal | None, table: RouteTable) -> RouteTable:
        kept = {n: e for n, e in table.tools.items() if self.refusal(principal, table.path, "tool", n, e) is None}
        return replace(table, tools=kept)

    async def shown(self, principal: Principal | None, table: RouteTable) -> RouteTable:
        return self.visible(principal, table)


def ids(registry: Registry, **of: Any) -> list[str]:
    return [tool.id for tool in registry.tools(**of)]


async def found(registry: Registry, query: str, **of: Any) -> list[str]:
    return [hit.tool.document.id for hit in await registry.search(query, **of)]


async def test_it_follows_swaps_and_changed_lists() -> None:
    mail = server(send="Send a message to a recipient")
    async with ServedMCP(mail) as served, ServedMCP(server(clone="Copy a repository")) as git:
        async with running_gateway(make_config({"mail": served.url}, server=OFTEN)) as running:
            registry = running.proxy.services.registry
            assert ids(registry) == ["mail.send"]
            assert await found(registry, "email somebody") == ["mail.send"]
            await running.proxy.apply(make_config({"mail": served.url, "git": git.url}, server=OFTEN))
            assert ids(registry) == ["mail.send", "git.clone"]
            assert (await found(registry, "repository copy"))[0] == "git.clone"

            @mail.tool(description="Move old letters out of the inbox")
            def archive() -> str:
                return ""

            await eventually(lambda: "mail.archive" in ids(registry))
            await eventually(lambda: running.proxy.stale is False)
            assert (await found(registry, "clean up my inbox"))[0] == "mail.archive"
            await running.proxy.apply(make_config({"git": git.url}))
            assert ids(registry) == ["git.clone"]
            assert await found(registry, "clean up my inbox") in ([], ["git.clone"])
            assert await running.metric("mcp_proxy_search_seconds_count") == 4


async def test_nobody_sees_or_finds_what_he_may_not_call() -> None:
    async with ServedMCP(server(read="Read the payroll", write="Write the payroll")) as served:
        async with running_gateway(make_config({"pay": served.url})) as running:
            proxy, registry = running.proxy, running.proxy.services.registry
            assert proxy.state is not None
            proxy.state = replace(proxy.state, policy=Refusing(frozenset({"pay_write"}), ALICE))
            assert ids(registry, principal=ALICE) == ["pay.read", "pay.write"]
            assert ids(registry, principal=BOB) == ids(registry) == ["pay.read"]
            assert sorted(await found(registry, "write payroll", principal=ALICE)) == ["pay.read", "pay.write"]
            assert await found(registry, "write payroll", principal=BOB) == ["pay.read"]
            assert registry.get("pay.write", BOB) is None
            assert registry.find("pay.write", BOB) is None
            mine = registry.find("pay.write", ALICE)
            assert mine is not None
            assert (mine.server, mine.path, mine.document.name, mine.entry.name) == (
                "ns/pay",
                "/mcp",
                "pay_write",
                "write",
            )


async def test_what_one_route_refuses_is_seen_where_another_allows_it() -> None:
    async with ServedMCP(server(read="Read")) as served:
        entries = [{"server": "ns/s", "prefix": "a"}], [{"server": "ns/s", "prefix": "b"}]
        routes = [{"name": f"r{n}", "path": f"/r{n}", "servers": entry} for n, entry in enumerate(entries)]
        async with running_gateway(make_config({"s": served.url}, routes=routes)) as running:
            proxy, registry = running.proxy, running.proxy.services.registry
            assert proxy.state is not None
            proxy.state = replace(proxy.state, policy=Refusing(frozenset({"a_read"}), ALICE))
            assert [tool.name for tool in registry.tools(ALICE)] == ["a_read"]
            assert [tool.name for tool in registry.tools(BOB)] == ["b_read"]
            assert await found(registry, "read", principal=BOB, path="/r0") == []
            assert await found(registry, "read", principal=BOB, path="/nowhere") == []
            (hit,) = await registry.search("read", principal=BOB, path="/r1")
            assert (hit.tool.path, hit.tool.document.name) == ("/r1", "b_read")


async def test_a_server_that_does_not_answer_is_listed_and_not_found() -> None:
    async with ServedMCP(server(stays="A tool that stays")) as stays:
        async with ServedMCP(server(goes="A tool that goes")) as goes:
            urls = {"stays": stays.url, "goes": goes.url}
            async with running_gateway(make_config(urls, server=OFTEN)) as running:
                registry = running.proxy.services.registry
                assert sorted(await found(registry, "tool")) == ["goes.goes", "stays.stays"]
                await goes.stop()
                await eventually(lambda: not all(tool.available for tool in registry.tools()))
                assert {tool.id: tool.available for tool in registry.tools()} == {
                    "goes.goes": False,
                    "stays.stays": True,
                }
                assert await found(registry, "tool") == ["stays.stays"]
                assert sorted(await found(registry, "tool", unavailable=True)) == ["goes.goes", "stays.stays"]
                gone = registry.get("goes.goes")
                assert gone is not None
                assert not gone.available


async def test_limits_and_choices() -> None:
    tools = server(**{f"t{number}": f"Tool number {number} of many" for number in range(20)})
    async with ServedMCP(tools) as served:
        async with running_gateway(make_config({"s": served.url}, search={"limit": 3, "embedder": "none"})) as running:
            registry = running.proxy.services.registry
            assert len(await found(registry, "tool")) == 3
            assert len(await found(registry, "tool", limit=5)) == 5
            assert await found(registry, "tool", keep=lambda tool: tool.name == "s_t7") == ["s.t7"]
            assert await found(registry, "") == []


async def test_without_a_configuration_there_is_nothing() -> None:
    async with Proxy() as proxy:
        assert proxy.services.registry.tools() == []
        assert await proxy.services.registry.search("anything") == []


def test_a_proxy_that_does_not_search_loads_nothing_for_it() -> None:
    code = (
        "import sys, mcp_operator_proxy.app\n"
        "print([m for m in ('numpy', 'bm25s', 'wordllama', 'snowballstemmer', 'pymilvus') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert ran.stdout.strip() == "[]"
