"""`serve --workers 2` as a process: sessions go on whichever worker a connection meets, and when a worker dies."""

import asyncio
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastmcp import Context, FastMCP

from support.backends import ServedMCP
from support.gateway import make_config
from support.program import ROOT, Program, running_program, write_config
from support.replicas import SECRETS, SIGNED, Wire
from support.waiting import Eventually
from support.waitingserver import WaitingServer

CLIENTS = 24
"""So many that all of them meet one worker only once in 2 to the 23."""
WHO = {"name": "s_who", "arguments": {}}


def backend(gate: WaitingServer) -> FastMCP[Any]:
    mcp = gate.mcp

    @mcp.tool
    def who(ctx: Context) -> str:
        return ctx.session_id

    return mcp


@pytest.fixture
def gate() -> WaitingServer:
    return WaitingServer()


@pytest.fixture
async def served(gate: WaitingServer) -> AsyncIterator[ServedMCP]:
    async with ServedMCP(backend(gate), era="legacy") as served:
        yield served


@pytest.fixture
async def folder(tmp_path: Path, served: ServedMCP) -> Path:
    write_config(tmp_path, make_config({"s": served.url}, revision="r1", **SIGNED), SECRETS)
    return tmp_path


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    """Without kept connections: each request may meet another worker."""
    limits = httpx2.Limits(max_keepalive_connections=0)
    async with httpx2.AsyncClient(timeout=20, limits=limits, headers={"connection": "close"}) as client:
        yield client


async def answer(wire: Wire, program: Program) -> str:
    response = await wire.ask(program, "tools/call", **WHO)
    assert response.status_code == 200, response.text
    return response.text.partition('"text":"')[2].partition('"')[0]


async def test_sessions_go_on_at_every_worker_and_after_one_is_killed(
    folder: Path, served: ServedMCP, http: httpx2.AsyncClient, eventually: Eventually
) -> None:
    async with running_program(folder, workers=2) as program:
        wires = [Wire(http) for _ in range(CLIENTS)]
        await asyncio.gather(*(wire.open(program) for wire in wires))
        rounds = [await asyncio.gather(*(answer(wire, program) for wire in wires)) for _ in range(3)]
        assert len(set(rounds[0])) == CLIENTS  # nobody shares a session with a server
        assert all(each == rounds[0] for each in rounds)  # and each kept its own, whichever worker was met

        async def both_told() -> bool:
            status = (await http.get(f"{program.base}/status")).json()
            return (status["workers"], status["workersUp"], status["sessions"]) == (2, 2, CLIENTS)

        await eventually(both_told)  # a busy worker may be too late with what it knows

        killed = program.workers()[0]
        os.kill(killed, signal.SIGKILL)
        # Until its last thread has gone, its socket takes its share of connections along.
        await eventually(lambda: killed not in program.workers(), within=60)
        after = await asyncio.gather(*(answer(wire, program) for wire in wires))
        assert all(after)
        assert any(now == then for now, then in zip(after, rounds[0], strict=True))  # the other worker's went on
        await eventually(lambda: program.serving() == 3 and len(program.workers()) == 2, within=60)
        again = [await asyncio.gather(*(answer(wire, program) for wire in wires)) for _ in range(2)]
        assert again == [after, after]  # the worker's return has moved no session once more

        write_config(folder, make_config({"s": served.url}, revision="r2", prefixes={"s": "t"}, **SIGNED))
        seen = (await http.get(f"{program.base}/status", params={"wait": "r2"})).json()
        assert (seen["revision"], seen["workersUp"]) == ("r2", 2)

        async def all_counted() -> bool:
            metrics = (await http.get(f"{program.base}/metrics")).text
            return f'mcp_proxy_sessions{{route="/mcp"}} {CLIENTS}.0' in metrics

        await eventually(all_counted)

        program.process.terminate()
        assert await program.process.wait() == 0


async def test_calls_in_flight_at_a_killed_worker_end_with_a_typed_error(
    folder: Path, http: httpx2.AsyncClient, gate: WaitingServer, eventually: Eventually
) -> None:
    async with running_program(folder, workers=2) as program:
        wires = [Wire(http) for _ in range(2 * CLIENTS)]
        await asyncio.gather(*(wire.open(program) for wire in wires))
        calls = [asyncio.create_task(wire.ask(program, "tools/call", name="s_wait", arguments={})) for wire in wires]
        await eventually(lambda: gate.calls == len(calls), within=60)
        killed = program.workers()[0]
        os.kill(killed, signal.SIGKILL)
        await eventually(lambda: killed not in program.workers() and any(call.done() for call in calls), within=60)
        gate.end.set()
        ended = Counter(map(_outcome, await asyncio.gather(*calls, return_exceptions=True)))

        # Cut off with their connection; forwarded to the killed worker; served by the other one. None is repeated.
        assert set(ended) == {"cut", "lost", "done"}
        assert gate.calls == len(calls)
        answers = await asyncio.gather(*(answer(wire, program) for wire in wires))
        assert all(answers)


def _outcome(result: httpx2.Response | BaseException) -> str:
    if isinstance(result, httpx2.HTTPError):
        return "cut"
    assert isinstance(result, httpx2.Response), result
    return "lost" if '"errorClass": "ConnectionReset"' in result.text else "done" if "done" in result.text else "?"


async def test_the_status_waits_for_all_workers(folder: Path, http: httpx2.AsyncClient) -> None:
    async with running_program(folder, workers=2) as program:
        stopped = program.workers()[1]
        os.kill(stopped, signal.SIGSTOP)
        try:
            # The kernel gives the stopped one its share of connections: the first that is answered was the other's.
            asking = [
                asyncio.create_task(
                    http.get(f"{program.base}/status", params={"wait": "r1", "timeout": "0.3"}, timeout=20)
                )
                for _ in range(30)
            ]
            await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            told = next(task for task in asking if task.done()).result().json()
            assert (told["revision"], told["workers"], told["workersUp"]) == (None, 2, 1)
        finally:
            os.kill(stopped, signal.SIGCONT)
        await asyncio.gather(*asking, return_exceptions=True)
        told = (await http.get(f"{program.base}/status", params={"wait": "r1"})).json()
        assert (told["revision"], told["workersUp"]) == ("r1", 2)


async def test_workers_end_with_their_parent(folder: Path, http: httpx2.AsyncClient, eventually: Eventually) -> None:
    async with running_program(folder, workers=2) as program:
        workers = program.workers()
        program.process.kill()

        await eventually(lambda: not any(_runs(pid) for pid in workers), within=60)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_an_occupied_port_is_one_error(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        port = other.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mcp_operator_proxy.cli", "serve", "--workers", "2"),
            *("--config-dir", str(folder), "--host", "127.0.0.1", "--port", str(port)),
            env={**os.environ, "PYTHONPATH": str(ROOT / "proxy_image")},
            stderr=asyncio.subprocess.PIPE,
        )
        _, error = await process.communicate()

    assert process.returncode == 1
    assert error.decode() == f"mcp-operator-proxy: cannot listen on 127.0.0.1:{port}: Address already in use\n"
