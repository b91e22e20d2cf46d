"""One supervised program: readiness, restarts, its end with all that it started, and no orphan when its parent is killed."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import psutil
import pytest

from mcp_operator.local import tether
from mcp_operator.local.launch import PYTHON, Launch
from mcp_operator.local.process import Supervised, base_url, free_port, is_free
from support.backends import eventually
from support.children import children

HOLD = (*PYTHON, "-m", "mcp_operator.local.hold", "--", sys.executable, "-S")
LISTEN = "import socket,sys,time; s=socket.create_server(('127.0.0.1', int(sys.argv[1]))); print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
PARENT = "import subprocess,sys; c=subprocess.Popen([sys.executable,'-S','-c','import time; time.sleep(600)'], start_new_session=True);"
Start = Callable[..., Supervised]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts programs that listen on a free port; none is left at the end."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False))

        def begin(code: str, **changes: object) -> Supervised:
            port = free_port()
            launch = Launch((*HOLD, "-c", code), (str(port),), {"PATH": os.environ["PATH"]}, "/mcp", port=port)
            process = Supervised("x", launch, port, log=tmp_path / "x.log", http=http, on_change=lambda: None)
            stack.push_async_callback(process.stop)
            process.start()
            return process

        yield begin
    assert not children()


async def test_it_is_ready_when_its_port_accepts_and_ends_in_order(start: Start) -> None:
    process = start(LISTEN)
    await eventually(lambda: process.standing.phase == "ready")
    assert process.url == f"http://127.0.0.1:{process.port}/mcp"
    assert not is_free("127.0.0.1", process.port)
    await process.stop()
    assert is_free("127.0.0.1", process.port)
    assert process.standing.phase == "stopped"


async def test_it_is_started_again_when_it_dies(start: Start) -> None:
    process = start(LISTEN)
    await eventually(lambda: process.standing.phase == "ready")
    first = process.pid
    assert first
    psutil.Process(first).children()[0].kill()
    await eventually(lambda: process.standing.phase != "ready")
    await eventually(lambda: process.standing.phase == "ready")
    assert process.pid != first


async def test_it_says_why_it_does_not_run(start: Start, tmp_path: Path) -> None:
    process = start("import sys; print('the token is hunter2', file=sys.stderr); sys.exit(3)")
    await eventually(lambda: process.standing.phase == "failing")
    assert "it exited with code 3" in process.standing.message
    assert str(tmp_path / "x.log") in process.standing.message
    assert "hunter2" not in process.standing.message
    assert "hunter2" in (tmp_path / "x.log").read_text()


async def test_a_port_in_use_is_said_and_waited_for(start: Start) -> None:
    first = start(LISTEN)
    await eventually(lambda: first.standing.phase == "ready")
    async with httpx2.AsyncClient() as http:
        second = Supervised("y", first.launch, first.port, log=None, http=http, on_change=lambda: None)
        second.start()
        await eventually(lambda: second.standing.phase == "failing")
        assert f"port {first.port} of 127.0.0.1 is in use" in second.standing.message
        await second.stop()


ANSWERS_ONCE = """import socket, sys
held, server = [], socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    held.append(server.accept()[0])
    print("asked", flush=True)
    if len(held) == 1:
        held[0].recv(9999)
        held[0].sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\nconnection: close\\r\\n\\r\\n")
        held[0].close()
"""


async def test_one_that_is_slow_to_answer_stays_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lives. Where it was taken for one that starts, its successor would not wait until it is no longer used."""
    monkeypatch.setattr("mcp_operator.local.process._ASK_SECONDS", 0.2)
    monkeypatch.setattr("mcp_operator.local.process._POLL_READY", 0.01)
    port, log, stood = free_port(), tmp_path / "x.log", []
    launch = Launch(
        (*HOLD, "-c", ANSWERS_ONCE), (str(port),), {"PATH": os.environ["PATH"]}, "/mcp", port=port, ready_path="/readyz"
    )
    async with httpx2.AsyncClient(trust_env=False) as http:
        process = Supervised(
            "x", launch, port, log=log, http=http, on_change=lambda: stood.append(process.standing.phase)
        )
        process.start()
        try:
            await eventually(lambda: log.exists() and log.read_text().count("asked") >= 4)
            assert stood == ["ready"]
        finally:
            await process.stop()


async def test_its_restart_keeps_the_port(start: Start) -> None:
    process = start(LISTEN)
    await eventually(lambda: process.standing.phase == "ready")
    first = process.pid
    process.restart()
    await eventually(lambda: process.pid not in {first, None} and process.standing.phase == "ready")


async def test_the_end_takes_what_it_started_and_what_does_not_want_to(start: Start) -> None:
    process = start(STUBBORN + PARENT + LISTEN)
    await eventually(lambda: process.standing.phase == "ready")
    assert process.pid
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert len(tree) == 4
    await process.stop(seconds=0.2)
    assert not psutil.wait_procs(tree, timeout=60)[1]


def test_nothing_is_left_when_the_parent_is_killed() -> None:
    code = PARENT + LISTEN
    parent = (
        "import subprocess,sys,os,time\n"
        "command=[sys.executable,'-I','-S',sys.argv[1],str(os.getpid()),*sys.argv[2:]]\n"
        "subprocess.Popen(command); time.sleep(600)"
    )
    command = [sys.executable, "-S", "-c", parent, tether.__file__, *HOLD, "-c", code, str(free_port())]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as killed:
        assert killed.stdout
        assert killed.stdout.readline() == b"up\n"
        tree = psutil.Process(killed.pid).children(recursive=True)
        assert len(tree) == 4
        killed.send_signal(signal.SIGKILL)
        assert not psutil.wait_procs(tree, timeout=60)[1]


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ((), 2, "the command is missing"),
        (("--", "/nowhere/x"), 127, "/nowhere/x can't be started: No such file"),
        (("--", sys.executable, "-S", "-c", "import sys; sys.exit(7)"), 7, ""),
        (("--", sys.executable, "-S", "-c", "import os; os.kill(os.getpid(), 9)"), 137, ""),
    ],
)
def test_hold_ends_as_its_program_does(command: tuple[str, ...], code: int, says: str) -> None:
    done = subprocess.run(
        [*PYTHON, "-m", "mcp_operator.local.hold", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert says in done.stderr


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
    ],
)
def test_addresses(host: str, url: str) -> None:
    assert base_url(host, 80) == url


async def test_a_program_that_is_stopped_before_it_starts_never_runs(tmp_path: Path) -> None:
    async with httpx2.AsyncClient() as http:
        launch = Launch((sys.executable, "-c", "raise SystemExit"), (), {}, "/mcp")
        process = Supervised("x", launch, free_port(), log=tmp_path / "x.log", http=http, on_change=lambda: None)
        await process.stop()
        process.start()
        await asyncio.sleep(0)
        assert process.pid is None
    assert not (tmp_path / "x.log").exists()
