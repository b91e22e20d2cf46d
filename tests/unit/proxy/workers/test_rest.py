"""REST with two worker processes and without a Redis: one answer for both, and servers stopped in both."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.sessions.holder import Holder
from mcp_operator_proxy.workers.siblings import HEADER, prove, proven, worker_keys
from support.program import Program, running_program, write_config
from support.waiting import Eventually
from unit.proxy.rest.backends import STDIO, calculator

MEETINGS = 24
"""Connections, so many that both workers are met but once in 2 to the 23."""


@pytest.fixture
async def program(tmp_path: Path) -> AsyncIterator[Program]:
    async with calculator() as served:
        servers = [{"id": "ns/calc", "url": served.url}, {"id": "ns/noisy", "stdio": STDIO}]
        entries = [{"server": f"ns/{name}", "prefix": name} for name in ("calc", "noisy")]
        routes = [{"name": "r", "path": "/mcp", "servers": entries}]
        config = {"revision": "r1", "servers": servers, "routes": routes, "rest": {}}
        write_config(tmp_path, ProxyConfig.model_validate(config))
        async with running_program(tmp_path, workers=2) as program:
            yield program


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    """Without kept connections: each request may meet another worker."""
    async with httpx2.AsyncClient(timeout=20, headers={"connection": "close"}) as client:
        yield client


async def met(http: httpx2.AsyncClient, program: Program, path: str) -> list[dict[str, Any]]:
    """What workers answer; both are among them."""
    found = await asyncio.gather(*(http.get(f"{program.base}{path}") for _ in range(MEETINGS)))
    assert {answer.status_code for answer in found} == {200}, [answer.text for answer in found]
    return [answer.json() for answer in found]


async def act(http: httpx2.AsyncClient, program: Program, name: str, action: str) -> dict[str, Any]:
    answer = await http.post(f"{program.base}/servers/{name}/{action}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def pids(http: httpx2.AsyncClient, program: Program) -> list[int]:
    processes = (await http.get(f"{program.base}/servers/noisy")).json()["processes"]
    return [process["pid"] for process in sorted(processes, key=lambda each: each["worker"])]


async def both_run(http: httpx2.AsyncClient, program: Program, *, but: Collection[int] = ()) -> bool:
    """Each worker has a process, none of those `but` for which it is asked."""
    found = [pid for pid in await pids(http, program) if pid]
    return len(found) == 2 and not set(found) & set(but)


async def all_are_up(http: httpx2.AsyncClient, program: Program) -> bool:
    """A busy worker may be too late with what it knows."""
    return all(health["workers_up"] == health["workers"] == 2 for health in await met(http, program, "/health"))


async def all_tell_of_both(http: httpx2.AsyncClient, program: Program) -> bool:
    """What the two processes say: standard error has a pipe of its own, which may be read later."""
    found = [logs["lines"] for logs in await met(http, program, "/servers/noisy/logs")]
    for lines in found:
        assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    return all({line["worker"] for line in lines} == {0, 1} for lines in found)


async def test_every_worker_answers_for_both_and_stops_in_both(
    program: Program, http: httpx2.AsyncClient, eventually: Eventually
) -> None:
    await eventually(lambda: both_run(http, program), within=60)
    before = await pids(http, program)
    await eventually(lambda: all_are_up(http, program), within=60)
    await eventually(lambda: all_tell_of_both(http, program), within=60)
    await act(http, program, "noisy", "restart")
    await eventually(lambda: both_run(http, program, but=before), within=60)

    assert (await act(http, program, "calc", "stop"))["state"] == "stopped"
    body = {"tool_id": "calc.add", "parameters": {"a": 1}}
    calls = await asyncio.gather(*(http.post(f"{program.base}/tools/call", json=body) for _ in range(MEETINGS)))
    assert {answer.status_code for answer in calls} == {503}

    # One that comes in the place of a worker that died knows.
    killed = program.workers()[0]
    os.kill(killed, signal.SIGKILL)
    await eventually(lambda: program.serving() == 3 and killed not in program.workers(), within=60)
    listed = await met(http, program, "/servers")
    assert all({s["server_id"]: s["state"] for s in each["servers"]}["ns/calc"] == "stopped" for each in listed)
    calls = await asyncio.gather(*(http.post(f"{program.base}/tools/call", json=body) for _ in range(MEETINGS)))
    assert {answer.status_code for answer in calls} == {503}

    await act(http, program, "calc", "start")
    calls = await asyncio.gather(*(http.post(f"{program.base}/tools/call", json=body) for _ in range(MEETINGS)))
    assert {answer.status_code for answer in calls} == {200}


async def test_what_workers_ask_each_other_is_for_them_alone(program: Program, http: httpx2.AsyncClient) -> None:
    port = program.base.rpartition(":")[2]
    forged = {HEADER: prove(worker_keys(Holder())[0], "PUT", "/restart?server=ns%2Fcalc", b"", int(time.time()))}
    public = await http.put(f"{program.base}/restart?server=ns%2Fcalc", headers=forged)
    assert public.status_code in (404, 405)
    internal = {p for pid in program.workers() for p in _listening(pid)} - {int(port)}
    assert len(internal) == 2
    for each in internal:
        for path in ("/wishes", "/servers", "/logs?server=ns%2Fnoisy", "/health"):
            for headers in ({}, forged, {HEADER: "x"}):
                answer = await http.get(f"http://127.0.0.1:{each}{path}", headers=headers)
                assert answer.status_code == (403 if headers else 404)
        assert (await http.put(f"http://127.0.0.1:{each}/restart?server=ns%2Fcalc", headers=forged)).status_code == 403


def _listening(pid: int) -> set[int]:
    return {found.laddr.port for found in psutil.Process(pid).net_connections("tcp") if found.status == "LISTEN"}


def test_a_proof_is_for_one_request_and_one_moment() -> None:
    keys, now = worker_keys(Holder()), int(time.time())
    header = prove(keys[0], "PUT", "/wishes", b"{}", now)
    assert proven(keys, header, "PUT", "/wishes", b"{}")
    assert proven([*worker_keys(Holder()), *keys], header, "PUT", "/wishes", b"{}")
    assert not proven(worker_keys(Holder()), header, "PUT", "/wishes", b"{}")
    assert not proven(keys, header, "GET", "/wishes", b"{}")
    assert not proven(keys, header, "PUT", "/servers", b"{}")
    assert not proven(keys, header, "PUT", "/wishes", b"")
    assert not proven(keys, prove(keys[0], "PUT", "/wishes", b"{}", now - 60), "PUT", "/wishes", b"{}")
    for wrong in ("", ";", "x;y", f"{now};", "é;", f"{now};é"):
        assert not proven(keys, wrong, "PUT", "/wishes", b"{}")
