# ruff: noqa: SIM117 - nested, in the order in which they start
"""`ttlMs` and `cacheScope`: what clients are told is true."""

import time
from typing import Any

import pytest
from fastmcp import FastMCP
from mcp.server.caching import CacheHint

from mcp_operator_proxy.eras.freshness import STALE, Freshness, aged, freshness_of, least
from support.backends import ServedMCP
from support.gateway import make_config, running_gateway
from support.modern import ModernClient

PUBLIC, PRIVATE = Freshness(1000, public=True), Freshness(1000)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({}, STALE),
        ({"ttlMs": 5, "cacheScope": "public"}, Freshness(5, public=True)),
        ({"ttlMs": 5, "cacheScope": "private"}, Freshness(5)),
        ({"ttlMs": 5}, Freshness(5)),
        ({"ttlMs": 0, "cacheScope": "public"}, STALE),
        ({"ttlMs": -5, "cacheScope": "public"}, STALE),
        ({"ttlMs": True}, STALE),
        ({"ttlMs": "5"}, STALE),
    ],
)
def test_what_a_result_says(result: Any, said: Freshness) -> None:
    assert freshness_of(result) == said


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ([], STALE),
        ([PUBLIC], PUBLIC),
        ([PUBLIC, PRIVATE], PRIVATE),
        ([PUBLIC, Freshness(5, public=True)], Freshness(5, public=True)),
        ([Freshness(5), Freshness(9, public=True)], Freshness(5)),
        ([PUBLIC, STALE], STALE),
    ],
)
def test_a_list_of_several_parts(parts: Any, whole: Freshness) -> None:
    assert least(parts) == whole


def test_time_goes_by() -> None:
    assert aged(PUBLIC, 0.5) == Freshness(499, public=True)
    assert aged(PUBLIC, 1.0) == STALE
    assert aged(PUBLIC, 99.0) == STALE
    assert STALE.wire() == {"ttlMs": 0, "cacheScope": "private"}


def server(name: str, **hints: CacheHint) -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP(name)

    @mcp.tool
    def one() -> str:
        return "1"

    @mcp.resource("data://one")
    def read() -> str:
        return "1"

    mcp._mcp_server.cache_hints = {key.replace("_", "/"): hint for key, hint in hints.items()}  # type: ignore[dict-item]
    return mcp


LONG = CacheHint(ttl_ms=3_600_000, scope="public")
SHORT = CacheHint(ttl_ms=600_000, scope="public")
OWN = CacheHint(ttl_ms=3_600_000, scope="private")


async def _lists(client: ModernClient, method: str, meta: Any = None) -> tuple[int, str]:
    answer = await client.request(method, {}, meta=meta)
    assert answer.result is not None, answer.error
    assert (
        answer.result[{"tools/list": "tools", "resources/list": "resources", "prompts/list": "prompts"}[method]]
        is not None
    )
    return answer.result["ttlMs"], answer.result["cacheScope"]


@pytest.mark.parametrize("page_size", [None, 10], ids=["lane", "full path"])
async def test_lists_of_several_servers(page_size: int | None) -> None:
    started = time.monotonic()
    a = server("a", tools_list=LONG, resources_list=LONG)
    b = server("b", tools_list=SHORT, resources_list=OWN)
    async with ServedMCP(a) as one, ServedMCP(b) as two, ServedMCP(server("c"), era="legacy") as three:
        routes = [
            {
                "name": f"McpRoute/ns/{path}",
                "path": f"/{path}",
                "servers": [{"server": f"ns/{n}", "prefix": n} for n in names],
            }
            for path, names in (("mcp", "ab"), ("legacy", "abc"), ("one", "a"), ("none", ""))
        ]
        if page_size is not None:
            routes = [{**route, "pageSize": page_size} for route in routes]
        urls = {"a": one.url, "b": two.url, "c": three.url}
        async with running_gateway(make_config(urls, routes=routes)) as gateway:

            def at(path: str) -> ModernClient:
                return ModernClient(f"{gateway.base}/{path}")

            async with at("mcp") as both, at("legacy") as mixed, at("one") as alone, at("none") as empty:
                ttl, scope = await _lists(both, "tools/list")
                age = (time.monotonic() - started) * 1000
                assert 600_000 - age - 2 <= ttl < 600_000
                assert scope == "public"
                ttl, scope = await _lists(both, "resources/list")
                assert 600_000 < ttl < 3_600_000
                assert scope == "private"
                assert (await _lists(alone, "resources/list"))[1] == "public"
                assert await _lists(alone, "prompts/list") == (0, "private")
                for client, method in ((mixed, "tools/list"), (empty, "tools/list")):
                    assert await _lists(client, method) == (0, "private")


async def test_where_callers_differ_nothing_is_public() -> None:
    key = {"name": "ann", "secret": {"file": "ann"}}
    secrets = {"ann": "k-ann-0123456789abcdef"}
    async with ServedMCP(server("a", tools_list=LONG)) as one:
        async with running_gateway(make_config({"a": one.url}, auth={"apiKeys": [key]}), secrets) as gateway:
            async with ModernClient(gateway.url, key=secrets["ann"]) as client:
                ttl, scope = await _lists(client, "tools/list")
                assert ttl > 600_000
                assert scope == "private"


@pytest.mark.parametrize("capabilities", [{}, {"elicitation": {}}])
async def test_reads_say_what_the_server_says(capabilities: Any) -> None:
    async with ServedMCP(server("a", resources_read=SHORT)) as one, ServedMCP(server("b"), era="legacy") as two:
        async with running_gateway(make_config({"a": one.url, "b": two.url})) as gateway:
            async with ModernClient(gateway.url, capabilities) as client:
                read = await client.request("resources/read", {"uri": "data://a/one"})
                assert read.result is not None
                assert (read.result["ttlMs"], read.result["cacheScope"]) == (600_000, "public")
                read = await client.request("resources/read", {"uri": "data://b/one"})
                assert read.result is not None
                assert (read.result["ttlMs"], read.result["cacheScope"]) == (0, "private")
