# ruff: noqa: SIM117 - nested, in the order in which they start
"""Configurations swapped while clients of both eras are at work."""

import asyncio
import time
from typing import Any

import pytest
from fastmcp import FastMCP
from fastmcp.server.middleware import Middleware
from mcp.client import Client as SDKClient
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ToolsListChanged
from mcp_types import SubscriptionsListenRequestParams

from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.swap.validate import ConfigRejected, SecretMissing
from support.backends import Ears, HungServer, ServedMCP, client, dead_port, eventually
from support.gateway import make_config, running_gateway

CHANGED = "notifications/tools/list_changed"


def server(*tools: str) -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("s")
    for name in tools:
        add_tool(mcp, name)
    return mcp


def add_tool(mcp: FastMCP[Any], name: str) -> None:
    def tool(x: int = 0) -> int:
        return x

    mcp.tool(tool, name=name)


class Gate:
    """A tool that says that it has begun, and ends when it is told to."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.end = asyncio.Event()
        self.mcp = server("fast")
        self.mcp.tool(self.wait)

    async def wait(self) -> str:
        self.begun.set()
        await self.end.wait()
        return "held"


async def test_no_call_fails_while_servers_come_and_go() -> None:
    gate = Gate()
    stop = asyncio.Event()
    calls: dict[Ears, int] = {}

    async def caller(url: str, mode: str, ears: Ears) -> None:
        async with client(url, mode, message_handler=ears) as through:
            while not stop.is_set():
                result = await through.call_tool("stay_echo", {"x": 1})
                assert result.data == 1
                calls[ears] = calls.get(ears, 0) + 1

    async with ServedMCP(server("echo")) as stay, ServedMCP(gate.mcp) as going, ServedMCP(server("new")) as coming:
        async with running_gateway(make_config({"stay": stay.url, "going": going.url})) as running:
            all_ears = [Ears() for _ in range(4)]
            async with asyncio.TaskGroup() as tasks:
                for mode, ears in zip(("legacy", "legacy", "auto", "auto"), all_ears, strict=True):
                    tasks.create_task(caller(running.url, mode, ears))
                hearing = all_ears[:2]
                holder = tasks.create_task(_call(running.url, "legacy", "going_wait"))
                modern_holder = tasks.create_task(_call(running.url, "auto", "going_wait"))
                await gate.begun.wait()
                await eventually(lambda: len(calls) == 4)
                await running.proxy.apply(make_config({"stay": stay.url, "coming": coming.url}))
                async with client(running.url) as fresh:
                    assert [t.name for t in await fresh.list_tools()] == ["stay_echo", "coming_new"]
                    assert (await fresh.call_tool("coming_new", {"x": 4})).data == 4
                    with pytest.raises(MCPError, match="Unknown tool"):
                        await fresh.call_tool("going_fast", {})
                for _ in range(5):
                    for urls in ({"stay": stay.url}, {"stay": stay.url, "coming": coming.url}):
                        before, heard = dict(calls), [e.heard.count(CHANGED) for e in hearing]
                        await running.proxy.apply(make_config(urls))
                        await eventually(lambda before=before: all(calls[e] > before[e] for e in all_ears))
                        await eventually(
                            lambda heard=heard: all(
                                e.heard.count(CHANGED) > n for e, n in zip(hearing, heard, strict=True)
                            )
                        )
                assert not holder.done()
                gate.end.set()
                assert await holder == "held"
                assert await modern_holder == "held"
                stop.set()
            assert running.proxy.status().swaps == 12


async def _call(url: str, mode: str, tool: str) -> Any:
    async with client(url, mode) as through:
        return (await through.call_tool(tool, {})).data


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_every_client_hears_of_a_changed_list(mode: str) -> None:
    async with ServedMCP(server("a")) as served, running_gateway(make_config({"s": served.url})) as running:
        if mode == "legacy":
            ears = Ears()
            async with client(running.url, "legacy", message_handler=ears) as through:
                await through.list_tools()
                await running.proxy.apply(make_config({}, routes=[{"name": "r", "path": "/mcp"}]))
                await eventually(lambda: CHANGED in ears.heard)
                assert await through.list_tools() == []
        else:
            async with SDKClient(running.url, mode=mode) as modern, modern.listen(tools_list_changed=True) as changes:
                await running.proxy.apply(make_config({}, routes=[{"name": "r", "path": "/mcp"}]))
                async with asyncio.timeout(30):
                    assert await anext(changes) == ToolsListChanged()


async def test_only_lists_that_differ_are_announced() -> None:
    async with (
        ServedMCP(server("a")) as one,
        ServedMCP(server("a")) as two,
        running_gateway(make_config({"s": one.url})) as running,
    ):
        ears = Ears()
        async with client(running.url, "legacy", message_handler=ears) as through:
            await through.list_tools()
            await running.proxy.apply(make_config({"s": two.url}))
            assert (await through.call_tool("s_a", {"x": 5})).data == 5
            await running.proxy.apply(make_config({}, routes=[{"name": "r", "path": "/mcp"}]))
            await eventually(lambda: ears.heard)
            assert ears.heard == [CHANGED]


async def test_a_client_without_a_stream_hears_when_it_opens_one() -> None:
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    initialize = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }  # fmt: skip
    async with ServedMCP(server("a")) as served, running_gateway(make_config({"s": served.url})) as running:
        answer = await running.http.post(running.url, headers=headers, json=initialize)
        headers["mcp-session-id"] = answer.headers["mcp-session-id"]
        await running.http.post(
            running.url, headers=headers, json={"jsonrpc": "2.0", "method": "notifications/initialized"}
        )
        await running.proxy.apply(make_config({}, routes=[{"name": "r", "path": "/mcp"}]))
        async with running.http.stream("GET", running.url, headers=headers) as stream:
            async with asyncio.timeout(30):
                async for line in stream.aiter_lines():
                    if CHANGED in line:
                        break
        assert running.proxy.status().sessions == 1
        await running.http.delete(running.url, headers=headers)
        await eventually(lambda: running.proxy.status().sessions == 0)


class Remember(Middleware):
    """Keeps the connections that listed the tools."""

    def __init__(self) -> None:
        self.connections: list[Any] = []

    async def on_list_tools(self, context: Any, call_next: Any) -> Any:
        self.connections.append(context.fastmcp_context.session._connection)
        return await call_next(context)


@pytest.mark.parametrize("back", ["legacy", "both"])
async def test_a_backends_own_change_goes_onward(back: str) -> None:
    mcp, remember, bus = server("a"), Remember(), InMemorySubscriptionBus()
    mcp.add_middleware(remember)
    mcp._mcp_server.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, ListenHandler(bus))
    async with ServedMCP(mcp, era=back) as served, running_gateway(make_config({"s": served.url})) as running:
        ears = Ears()
        async with client(running.url, "legacy", message_handler=ears) as through:
            await through.list_tools()
            add_tool(mcp, "b")
            if back == "legacy":
                await eventually(lambda: "GET" in served.verbs)
                await remember.connections[0].send_tool_list_changed()
            else:
                await eventually(lambda: "subscriptions/listen" in served.methods)
                await bus.publish(ToolsListChanged())
            await eventually(lambda: CHANGED in ears.heard)
            assert [t.name for t in await through.list_tools()] == ["s_a", "s_b"]


async def test_a_change_that_a_backend_does_not_tell_of_is_found_by_refreshing() -> None:
    mcp = server("a")
    async with (
        ServedMCP(mcp) as served,
        running_gateway(make_config({"s": served.url}, server={"refreshSeconds": 0.05})) as running,
    ):
        add_tool(mcp, "b")
        await eventually(lambda: "s_b" in running.proxy.status().routes[0].tools)


async def test_a_moment_without_the_processor_puts_off_no_further_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables may take their share of the processor; what a busy machine does for others is not held against them."""
    real, mcp = Proxy._show, server("a")

    def interrupted(self: Proxy, state: Any) -> None:
        time.sleep(0.5)
        real(self, state)

    async with (
        ServedMCP(mcp) as served,
        running_gateway(make_config({"s": served.url}, server={"refreshSeconds": 0.05})) as running,
    ):
        monkeypatch.setattr(Proxy, "_show", interrupted)
        add_tool(mcp, "b")
        await eventually(lambda: "s_b" in running.proxy.status().routes[0].tools)
        assert running.proxy._next_rebuild - asyncio.get_running_loop().time() < 5


async def test_a_route_that_stays_keeps_its_sessions_and_one_that_goes_ends_them() -> None:
    def routes(*paths: str) -> list[dict[str, Any]]:
        return [{"name": f"r{p}", "path": p, "servers": [{"server": "ns/s", "prefix": "s"}]} for p in paths]

    async with ServedMCP(server("a")) as served:
        async with running_gateway(make_config({"s": served.url}, routes=routes("/one", "/two"))) as running:
            async with client(f"{running.base}/one", "legacy") as one, client(f"{running.base}/two", "legacy") as two:
                ids = [c.transport.get_session_id() for c in (one, two)]
                await two.call_tool("s_a", {})
                await running.proxy.apply(make_config({"s": served.url}, routes=routes("/one", "/three")))
                assert (await one.call_tool("s_a", {"x": 2})).data == 2
                assert one.transport.get_session_id() == ids[0]
                with pytest.raises(MCPError):
                    await two.call_tool("s_a", {})
            await running.proxy.apply(make_config({"s": served.url}, routes=routes("/one", "/two")))
            headers = {
                "mcp-session-id": ids[1], "content-type": "application/json", "accept": "application/json, text/event-stream",
            }  # fmt: skip
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
            assert (await running.http.post(f"{running.base}/two", headers=headers, json=body)).status_code == 404
            assert (await running.http.post(f"{running.base}/one", headers=headers, json=body)).status_code == 404


async def test_equal_content_is_not_swapped_in_again() -> None:
    async with ServedMCP(server("a")) as served, running_gateway(make_config({"s": served.url})) as running:
        backend = running.proxy.state.backends["ns/s"]  # type: ignore[union-attr]
        assert await running.proxy.apply(make_config({"s": served.url})) is False
        assert running.proxy.status().swaps == 1
        # An unchanged server is not touched by a change elsewhere.
        assert await running.proxy.apply(make_config({"s": served.url}, allowedHosts=["127.0.0.1"])) is True
        assert running.proxy.state.backends["ns/s"] is backend  # type: ignore[union-attr]
        assert served.methods.count("tools/list") == 1


async def test_a_rotated_secret_is_used_by_the_next_call_and_keeps_sessions() -> None:
    async with ServedMCP(server("a")) as served:
        config = make_config({"s": served.url}, server={"headers": [{"name": "X-Token", "secret": {"file": "t"}}]})
        async with running_gateway(config, {"t": "old"}) as running, client(running.url, "legacy") as through:
            await through.call_tool("s_a", {})
            opened = served.methods.count("server/discover")
            assert await running.proxy.apply(config, {"t": "new"}) is True
            await through.call_tool("s_a", {})
            assert served.requests[-1]["x-token"] == "new"
            assert served.methods.count("server/discover") == opened


async def test_a_bad_config_is_refused_whole_and_the_good_one_stays() -> None:
    async with ServedMCP(server("a")) as served, running_gateway(make_config({"s": served.url})) as running:
        before = running.proxy.state
        bad = make_config({"s": served.url, "t": served.url}, server={"caBundle": "none"}, revision="bad1")
        with pytest.raises(ConfigRejected):
            await running.proxy.apply(bad)
        missing = make_config({"s": served.url}, server={"headers": [{"name": "X", "secret": {"file": "f"}}]})
        with pytest.raises(SecretMissing):
            await running.proxy.apply(missing, {})
        assert running.proxy.state is before
        rejected = running.proxy.status().rejected
        assert rejected is not None
        assert (rejected.revision, rejected.message) == (
            "bad1",
            "servers[0].caBundle of ns/s: not a bundle of PEM certificates",
        )
        async with client(running.url) as through:
            assert (await through.call_tool("s_a", {"x": 1})).data == 1
        await running.proxy.apply(make_config({"s": served.url}))
        assert running.proxy.status().rejected is None


async def test_a_server_that_hangs_or_is_down_is_not_waited_for_by_a_swap() -> None:
    async with HungServer() as hung, ServedMCP(server("a")) as served:
        urls = {"hung": hung.url, "dead": f"http://127.0.0.1:{dead_port()}/mcp", "s": served.url}
        async with running_gateway(make_config({}), warm_seconds=1) as running:
            await running.proxy.apply(make_config(urls, each={"hung": {"connectTimeoutSeconds": 60}}))
            states = {r.id: r.state for r in running.proxy.status().servers}
            assert states["ns/hung"] == "pending", "its minute is not over"
            await eventually(lambda: running.proxy.status().servers[1].state == "error")
            await eventually(lambda: running.proxy.status().servers[2].state == "ready")
            async with client(running.url, "legacy") as through:
                assert [t.name for t in await through.list_tools()] == ["s_a"]


async def test_of_configs_that_come_at_once_the_newest_wins() -> None:
    async with HungServer() as hung, Proxy(warm_seconds=0.1) as proxy:
        configs = [make_config({f"s{i}": hung.url}, revision=f"r{i}") for i in range(5)]
        applied = await asyncio.gather(*(proxy.apply(config) for config in configs))
        assert applied in ([True, False, False, False, True], [False, False, False, False, True])
        assert proxy.status().revision == "r4"
