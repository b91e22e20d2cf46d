"""However a tool is called: by `call_tool`, over REST, on a user's own instance, as a task, from memory."""

import pytest
from fastmcp.exceptions import ToolError
from mcp.shared.exceptions import MCPError

from mcp_operator_proxy.config import Pin
from mcp_operator_proxy.toolmetrics import LONGEST, OTHER
from support.backends import HungServer, ServedMCP, client, eventually
from support.gateway import make_config, running_gateway
from support.scraped import scraped
from unit.proxy.rest.backends import calculator
from unit.proxy.rest.conftest import call
from unit.proxy.test_tasks import Caller, server
from unit.proxy.users.setting import connected, one_gateway

from .calling import EXECUTIONS, SECONDS, calling

ROUTE = [{"name": "r", "path": "/mcp", "servers": [{"server": "ns/calc", "prefix": "calc"}], "findTools": True}]


@pytest.mark.parametrize("front", ["legacy", "auto"])
async def test_by_call_tool(front: str) -> None:
    async with calculator() as served, running_gateway(make_config({"calc": served.url}, routes=ROUTE)) as gateway:
        async with client(gateway.url, front) as through:
            await through.call_tool("find_tool", {"query": "sum"})
            await through.call_tool("call_tool", {"name": "calc_add", "arguments": {"a": 1}})
            with pytest.raises(ToolError):
                await through.call_tool("call_tool", {"name": "calc_divide", "arguments": {"a": 1, "b": 0}})
            for unknown in ("calc_gone", "call_tool", ""):
                with pytest.raises((MCPError, ToolError)):
                    await through.call_tool("call_tool", {"name": unknown, "arguments": {}})
        found = await scraped(gateway)
        assert found.by(EXECUTIONS, "tool_id") == {"calc.add": 1, "calc.divide": 1}
        assert found.value(EXECUTIONS, tool_id="calc.divide", status="tool_error") == 1
        assert found.value("mcp_proxy_search_seconds_count") == 1


async def test_over_rest() -> None:
    settings = {"tools": [{"name": "slow", "callTimeoutSeconds": 0.2}]}
    async with (
        calculator() as served,
        running_gateway(make_config({"calc": served.url}, server=settings, rest={})) as gateway,
    ):
        calls = [
            ("add", {"a": 1}),
            ("divide", {"a": 1, "b": 0}),
            ("add", {}),
            ("slow", {}),
            ("asks", {}),
            ("refuses", {}),
        ]
        for tool, arguments in [*calls, ("gone", {})]:
            await call(gateway, f"calc.{tool}", arguments)
        found = await scraped(gateway)
        ended = {name: found.by(EXECUTIONS, "status", tool_id=f"calc.{name}") for name, _ in calls}
        assert ended == {
            "add": {"ok": 1, "refused": 1},
            "divide": {"tool_error": 1},
            "slow": {"timeout": 1},
            "asks": {"unfinished": 1},
            "refuses": {"error": 1},
        }
        assert "calc.gone" not in found.by(EXECUTIONS, "tool_id")


async def test_parameters_that_the_server_itself_refuses_are_an_error_of_its_own() -> None:
    """Other than those that do not fit the schema, it was asked: `refused` says that a call was not sent."""
    async with calling("modern", lane=True, rest={}) as through:
        answer = await through.gateway.http.post(f"{through.gateway.base}/tools/call", json={"tool_id": "a.refused"})
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (422, "bad-parameters")
        assert len(through.scripted.calls) == 1
        await through.ended("refused", "error")
        await through.raw.call("a_refused")
        await through.ended("refused", "error", 2)


@pytest.mark.parametrize("rest", [True, False])
async def test_what_the_circuit_holds_back_is_refused(rest: bool) -> None:
    breaker = {"circuitBreaker": {"failures": 1, "openSeconds": 600}, "callTimeoutSeconds": 0.2}
    async with (
        calculator() as served,
        running_gateway(make_config({"calc": served.url}, server=breaker, rest={})) as gateway,
    ):
        async with client(gateway.url) as through:
            for _ in range(2):
                if rest:
                    await call(gateway, "calc.slow")
                else:
                    with pytest.raises(MCPError):
                        await through.call_tool("calc_slow", {})
        found = await scraped(gateway)
        assert found.by(EXECUTIONS, "status", tool_id="calc.slow") == {"timeout": 1, "refused": 1}
        assert found.value("mcp_server_status", server_id="ns/calc") == 0
        assert found.value("mcp_proxy_backend_circuit_state", server="ns/calc", state="open") == 1


async def test_quarantined_tools() -> None:
    pinned = {"pinning": "enforce", "pins": [Pin(tool="add", digest="sha256:" + "0" * 64).model_dump()]}
    async with (
        calculator() as served,
        running_gateway(make_config({"calc": served.url}, server=pinned, rest={})) as gateway,
    ):
        async with client(gateway.url) as through:
            with pytest.raises(MCPError):
                await through.call_tool("calc_divide", {"a": 1, "b": 1})
        await call(gateway, "calc.divide", {"a": 1, "b": 1})
        assert (await scraped(gateway)).by(EXECUTIONS, "status", tool_id="calc.divide") == {"refused": 2}


async def test_users_instances_have_no_user_in_them() -> None:
    async with one_gateway(["ann", "bob"]) as (gateway, _, _):
        for name in ("ann", "bob", "ann"):
            async with connected(gateway, name, "auto") as through:
                await through.call_tool("p_whoami", {})
        found = await scraped(gateway)
        assert found.by(EXECUTIONS, "status", tool_id="p.whoami") == {"ok": 3}
        assert found.value(SECONDS, tool_id="p.whoami") == 3
        assert found.value("mcp_server_status", server_id="ns/p") == 1
        assert found.by("mcp_proxy_backend_connections", "state", server="ns/p").keys() == {"active", "idle"}
        assert not any(name in str(found) for name in ("key/ann", "key/bob", "tok-ann", "tok-bob"))


async def test_tasks_are_not_at_their_end() -> None:
    mcp, _ = server("one")
    async with ServedMCP(mcp) as served, running_gateway(make_config({"s": served.url})) as gateway:
        made = await Caller(gateway).call("s_work")
        assert made["resultType"] == "task"
        assert (await Caller(gateway, tasks=False).call("s_work"))["content"][0]["text"] == "one at once"
        found = await scraped(gateway)
        assert found.by(EXECUTIONS, "status", tool_id="s.work") == {"unfinished": 1, "ok": 1}
        assert found.value(SECONDS, tool_id="s.work") == 1


async def test_answers_from_memory_are_results() -> None:
    cached = {"tools": [{"name": "read_only", "cacheSeconds": 600}]}
    async with calling("modern", lane=True, server=cached) as through:
        for _ in range(3):
            await through.raw.call("a_read_only")
        await through.ended("read_only", "ok", 3)
        assert len(through.scripted.calls) == 1


async def test_ids_that_are_no_labels() -> None:
    odd = ["x" * LONGEST, "line\nbreak", "\u202e", 'quote"\\']
    async with calling("modern", lane=False) as through:
        through.scripted.more_tools = odd
        await through.gateway.proxy.state.backends["ns/a"].looked_for()  # type: ignore[union-attr]
        proxy = through.gateway.proxy
        await eventually(
            lambda: (
                len(proxy.table("/mcp", None).tools) > len(odd) and proxy.table("/mcp", None).tools.get(f"a_{odd[-1]}")
            )
        )
        for entry in proxy.table("/mcp", None).tools.values():
            if entry.name in odd:
                proxy.record_call(entry, "ok", 0.1)
        found = (await scraped(through.gateway)).by(EXECUTIONS, "tool_id")
        assert found == {OTHER: 3, f"a.{odd[-1]}": 1}


async def test_a_server_that_says_nothing() -> None:
    async with HungServer() as hung, running_gateway(make_config({"h": hung.url}), warm_seconds=0) as gateway:
        found = await scraped(gateway)
        assert found.value("mcp_server_status", server_id="ns/h") == 0
        assert found.value("mcp_server_uptime_seconds", server_id="ns/h") == 0
        assert ("mcp_server_status", frozenset({("server_id", "ns/h")})) in found.samples
