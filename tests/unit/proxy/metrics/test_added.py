"""`mcp_proxy_added_seconds`: the time of the proxy alone, whichever way a request goes; and the connections with servers."""

import time

from mcp_operator_proxy.backends.metrics import ConnectionsCollector
from support.backends import ServedMCP, client, eventually
from support.gateway import make_config, running_gateway
from support.rawclient import Front
from support.scraped import Scrape, scraped

from .calling import WAYS, calling

COUNT, SUM = "mcp_proxy_added_seconds_count", "mcp_proxy_added_seconds_sum"
CONNECTIONS = "mcp_proxy_backend_connections"


@WAYS
async def test_what_the_server_takes_is_not_the_proxys(front: Front, lane: bool) -> None:
    async with calling(front, lane=lane) as through:
        await through.raw.call("a_text")
        way = "lane" if lane else "full"
        before = await scraped(through.gateway)
        through.scripted.pause = 1.0
        began = time.perf_counter()
        await through.raw.call("a_pauses")
        took = time.perf_counter() - began

        async def counted() -> Scrape | None:
            found = await scraped(through.gateway)
            return found if found.value(COUNT, way=way) > before.value(COUNT, way=way) else None

        found: Scrape = await eventually(counted)
        assert found.value("mcp_tool_execution_duration_seconds_sum", tool_id="a.pauses") >= through.scripted.pause
        added = found.value(SUM, way=way) - before.value(SUM, way=way)
        assert 0 < added < took - through.scripted.pause / 2
        assert found.value(COUNT, way=way) == before.value(COUNT, way=way) + 1


async def test_only_what_a_server_has_answered_is_measured() -> None:
    async with calling("modern", lane=True) as through:
        for tool in ("refused", "web_page", "die", "nothing"):
            await through.raw.call(f"a_{tool}")
        await through.raw.ask("tools/list", {})
        assert set((await scraped(through.gateway)).by(COUNT, "way").values()) == {0}
        await through.raw.ask("prompts/get", {"name": "a_hello"})
        assert (await scraped(through.gateway)).by(COUNT, "way") == {"lane": 1, "full": 0, "rest": 0}


async def test_rest() -> None:
    async with calling("modern", lane=True, rest={}) as through:
        body = {"tool_id": "a.text", "parameters": {}}
        answer = await through.gateway.http.post(f"{through.gateway.base}/tools/call", json=body)
        assert answer.status_code == 200
        found = await scraped(through.gateway)
        assert found.by(COUNT, "way") == {"lane": 0, "full": 0, "rest": 1}
        assert (
            0 < found.value(SUM, way="rest") < found.value("mcp_tool_execution_duration_seconds_sum", tool_id="a.text")
        )


@WAYS
async def test_connections_with_a_server(front: Front, lane: bool) -> None:
    async with calling(front, lane=lane) as through:
        await through.raw.call("a_text")

        async def active() -> float:
            return (await scraped(through.gateway)).value(CONNECTIONS, server="ns/a", state="active")

        idle = await active()
        async with through.raw.streamed("a_progress") as response:
            assert response.status_code == 200
            await eventually(lambda: any(sent.params["name"] == "progress" for sent in through.scripted.calls))
            assert await active() > idle
            through.scripted.go.set()
            await response.aread()

        async def quiet() -> bool:
            found = await scraped(through.gateway)
            return found.value(CONNECTIONS, server="ns/a", state="active") == idle

        await eventually(quiet)
        await through.raw.call("a_text")
        assert (await scraped(through.gateway)).value(CONNECTIONS, server="ns/a", state="idle") > 0


async def test_the_library_keeps_its_connections_where_they_are_looked_for() -> None:
    """A canary: `_pool` of httpx2's transport is private."""
    from fastmcp import FastMCP  # noqa: PLC0415

    mcp = FastMCP("one")
    mcp.tool(lambda: "1", name="one")
    async with ServedMCP(mcp) as served, running_gateway(make_config({"a": served.url})) as gateway:
        gateway.proxy.lane.enabled = False
        async with client(gateway.url) as through:
            await through.call_tool("a_one", {})
            assert gateway.proxy.state is not None
            assert sum(gateway.proxy.state.backends["ns/a"]._http()._transport.counts()) > 0  # type: ignore[attr-defined]


def test_instances_of_one_server_are_counted_together() -> None:
    collector = ConnectionsCollector(lambda: [("ns/a", (1, 2)), ("ns/b", (0, 0)), ("ns/a", (3, 4))])
    (family,) = collector.collect()
    assert {(s.labels["server"], s.labels["state"]): s.value for s in family.samples} == {
        ("ns/a", "active"): 4,
        ("ns/a", "idle"): 6,
        ("ns/b", "active"): 0,
        ("ns/b", "idle"): 0,
    }
