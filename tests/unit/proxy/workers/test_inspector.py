"""The inspector with two worker processes: whichever is asked tells what both know."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp_types.version import LATEST_MODERN_VERSION

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.inspector.models import Fleet, Swaps, Traffic
from support.program import Program, running_program, write_config
from support.waiting import Eventually
from unit.proxy.rest.backends import calculator

MEETINGS = 24
"""Connections, so many that both workers are met but once in 2 to the 23."""


@pytest.fixture
async def program(tmp_path: Path) -> AsyncIterator[Program]:
    async with calculator() as served:
        routes = [{"name": "r", "path": "/mcp", "servers": [{"server": "ns/calc", "prefix": "calc"}]}]
        config = {"servers": [{"id": "ns/calc", "url": served.url}], "routes": routes, "inspector": {}}
        write_config(tmp_path, ProxyConfig.model_validate({"revision": "r1", **config}))
        async with running_program(tmp_path, workers=2) as program:
            yield program


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    """Without kept connections: each request may meet another worker."""
    async with httpx2.AsyncClient(timeout=20, headers={"connection": "close"}) as client:
        yield client


async def ask(http: httpx2.AsyncClient, program: Program, path: str, **query: Any) -> Any:
    answer = await http.get(f"{program.base}/ui/api/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def call(http: httpx2.AsyncClient, program: Program, number: int) -> None:
    """A call of the era that knows no sessions."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": LATEST_MODERN_VERSION,
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "calc_add", "arguments": {"a": number}, "_meta": meta}
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": LATEST_MODERN_VERSION,
        "mcp-method": "tools/call",
        "mcp-name": "calc_add",
    }
    body = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    answer = await http.post(f"{program.base}/mcp", json=body, headers=headers)
    assert answer.json()["result"]["structuredContent"] == {"result": number + 1}, answer.text


async def test_what_both_workers_know(program: Program, http: httpx2.AsyncClient, eventually: Eventually) -> None:
    begun = Traffic.model_validate(await ask(http, program, "traffic"))
    await asyncio.gather(*(call(http, program, number) for number in range(MEETINGS)))
    seen: dict[str, int] = {}
    last = begun.last

    async def all_seen() -> bool:
        nonlocal last
        found = Traffic.model_validate(await ask(http, program, "traffic", after=last, wait=1))
        last = found.last
        new = {one.id: one.worker for one in found.exchanges}
        assert not new.keys() & seen.keys()
        seen.update(new)
        return len(seen) == MEETINGS

    await eventually(all_seen)
    assert set(seen.values()) == {0, 1}

    async def both_known() -> bool:
        (server,) = Fleet.model_validate(await ask(http, program, "fleet")).servers
        return (server.id, server.calls, server.healthy) == ("ns/calc", MEETINGS, True)

    for _ in range(4):  # whichever answers
        await eventually(both_known)  # a busy worker may be too late with what it knows
        (swap,) = Swaps.model_validate(await ask(http, program, "swaps")).items
        assert (swap.revision, swap.total) == ("r1", 2)
        assert (await ask(http, program, "me"))["proxy"]["workers"] == 2
    sessions = (await ask(http, program, "sessions"))["client"]
    assert sessions == []
