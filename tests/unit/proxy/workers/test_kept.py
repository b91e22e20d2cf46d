"""Counters of a pod when one of its workers dies: what was told is not taken back."""

import asyncio
import os
import signal
from pathlib import Path

import httpx2
from fastmcp import FastMCP

from mcp_operator_proxy.metrics import Metrics
from mcp_operator_proxy.workers.kept import Kept, Memory, counters, known_in, shared_memory
from support.backends import ServedMCP, client
from support.gateway import make_config, running_gateway
from support.program import running_program, write_config
from support.scraped import Scrape, parsed, scraped
from support.waiting import Eventually
from unit.proxy.workers.test_merge import report

EXECUTIONS, REQUESTS = "mcp_tool_executions_total", "mcp_proxy_requests_total"
OK = {"route": "/mcp", "method": "tools/call", "status": "ok"}


def counting(calls: int) -> Metrics:
    made = Metrics(report, dict)
    for _ in range(calls):
        made.observe("/mcp", "tools/call", "ok", 0.02)
    return made


def test_a_worker_goes_on_where_its_predecessor_was() -> None:
    with shared_memory(2) as memory:
        assert memory is not None
        told = []
        for calls in (3, 4, 0):  # one after the other, in one place
            kept = Kept(memory, 1)
            render = counting(calls).render
            told += [parsed(kept.going_on(render, lambda *_: True).decode()) for _ in range(2)]
        assert [found.value(REQUESTS, **OK) for found in told] == [3, 3, 7, 7, 7, 7]
        assert [found.value("mcp_proxy_request_seconds_count", route="/mcp", method="tools/call") for found in told][
            -1
        ] == 7
        sibling = parsed(Kept(memory, 0).of(1, lambda *_: True).decode())
        assert sibling.value(REQUESTS, **OK) == 7
        assert not Kept(memory, 1).of(0, lambda *_: True)


def test_what_was_not_written_to_its_end_is_nothing() -> None:
    memory = Memory(1)
    try:
        memory.write(0, b"x" * 1000)
        assert memory.read(0) == b"x" * 1000
        memory.write(0, b"y")
        assert memory.read(0) == b"y"
        os.pwrite(memory._files[0], b"?", 20)
        assert memory.read(0) == b""
    finally:
        memory.close()


def test_one_worker_needs_none() -> None:
    with shared_memory(1) as memory:
        assert memory is None


async def test_what_is_gone_is_not_kept() -> None:
    mcp = FastMCP("one")
    mcp.tool(lambda: "1", name="one")
    async with ServedMCP(mcp) as served, running_gateway(make_config({"a": served.url})) as gateway:
        async with client(gateway.url) as through:
            await through.call_tool("a_one", {})
        text = (await gateway.get("/metrics")).content
        known = known_in(gateway.proxy.state)
        same = parsed(counters(text, known).decode())
        whole = await scraped(gateway)
        assert same.by(EXECUTIONS, "tool_id") == whole.by(EXECUTIONS, "tool_id") == {"a.one": 1}
        assert ("mcp_server_status", frozenset({("server_id", "ns/a")})) not in same.samples  # no counter
        await gateway.proxy.apply(make_config({}, routes=[{"name": "r", "path": "/other", "servers": []}]))
        left = parsed(counters(text, known_in(gateway.proxy.state)).decode())
        assert not [labels for _, labels in left.samples if {"route", "tool_id", "server_id"} & dict(labels).keys()]


async def test_counters_of_a_pod_do_not_fall_when_a_worker_is_killed(tmp_path: Path, eventually: Eventually) -> None:
    mcp = FastMCP("one")
    mcp.tool(lambda: "1", name="one")
    async with ServedMCP(mcp) as served, httpx2.AsyncClient(timeout=30) as http:
        write_config(tmp_path, make_config({"a": served.url}))

        async def told() -> Scrape:
            return parsed((await http.get(f"{program.base}/metrics", headers={"connection": "close"})).text)

        def counted(found: Scrape) -> tuple[float, float]:
            calls = found.value(EXECUTIONS, tool_id="a.one", status="ok")
            return calls, found.value("mcp_tool_execution_duration_seconds_count", tool_id="a.one")

        async with running_program(tmp_path, workers=2) as program:

            async def called() -> None:
                async with client(program.url) as through:
                    await through.call_tool("a_one", {})

            async def all_counted() -> bool:
                return counted(await told()) == (12, 12)

            await asyncio.gather(*(called() for _ in range(12)))
            await eventually(all_counted)
            for killed in program.workers():  # one after the other, so that both have been replaced in the end
                serving = program.serving()
                os.kill(killed, signal.SIGKILL)
                await eventually(lambda killed=killed: killed not in program.workers(), within=60)  # type: ignore[misc]
                assert counted(await told()) == (12, 12)
                await eventually(lambda before=serving: program.serving() > before, within=60)  # type: ignore[misc]
                assert counted(await told()) == (12, 12)
            await called()

            async def one_more() -> bool:
                return counted(await told()) == (13, 13)

            await eventually(one_more, within=30)


def test_before_a_configuration_is_in_use_nothing_is_gone() -> None:
    assert known_in(None)("server_id", "ns/a")
