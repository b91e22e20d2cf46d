"""The program, as a process."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mcp_operator_proxy.cli import main
from support.backends import Ears, ServedMCP, client, eventually
from support.gateway import make_config
from support.waitingserver import WaitingServer

ROOT = Path(__file__).parents[3]


def write(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, json.dumps({"revision": "r1"}))
    assert main(["check", "--config-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "revision r1: 0 servers, 0 routes\n"
    write(tmp_path, json.dumps({"revision": "r1", "servers": [{"id": "a"}]}))
    assert main(["check", "--config-dir", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("mcp-operator-proxy: servers[0].id: ")
    write(tmp_path, json.dumps({"revision": "r1", "servers": [{"id": "ns/a"}]}))
    assert main(["check", "--config-dir", str(tmp_path)]) == 1
    assert "servers[0]: server ns/a has neither url nor stdio; it needs exactly one of them" in capsys.readouterr().err
    assert main(["check", "--config-dir", str(tmp_path / "none")]) == 1


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["serve", "--port", "x"], ["serve", "--port", "70000"], ["serve", "--log-level", "loud"]]
)
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: mcp-operator-proxy" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.strip()


class Program:
    """`mcp-operator-proxy serve` with its log lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.base = ""

    async def read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(json.loads(line))

    def port(self) -> int | None:
        return next((int(line["port"]) for line in self.lines if line["message"] == "serving"), None)


@contextlib.asynccontextmanager
async def program(folder: Path) -> AsyncIterator[Program]:
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "proxy_image"),
        "MCP_PROXY_CONFIG_DIR": str(folder),
        "HOST": "127.0.0.1",
        "PORT": "0",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error::ResourceWarning", "-m", "mcp_operator_proxy.cli", "serve",
        env=env, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    running = Program(process)
    reading = asyncio.create_task(running.read())
    try:
        port = await eventually(running.port, 90)
        running.base = f"http://127.0.0.1:{port}"
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def test_serve_and_stop_in_order(tmp_path: Path) -> None:
    server = WaitingServer()
    async with ServedMCP(server.mcp) as served:
        config = make_config(
            {"b": served.url}, server={"headers": [{"name": "Authorization", "secret": {"file": "t"}}]}
        )
        (tmp_path / "t").write_text("Bearer top-s3cret\n")
        write(tmp_path, config.model_dump_json(by_alias=True, exclude_none=True))
        async with program(tmp_path) as running, httpx2.AsyncClient() as http:
            await eventually(lambda: any(line["message"] == "configuration in use" for line in running.lines))
            ears = Ears()
            async with (
                client(f"{running.base}/mcp", "legacy", message_handler=ears) as legacy,
                client(f"{running.base}/mcp") as modern,
            ):
                for each in (legacy, modern):  # or they would list after the call, to check its result
                    await each.list_tools()
                calls = [asyncio.create_task(c.call_tool_mcp("b_wait", {})) for c in (legacy, modern)]
                await server.begun.wait()
                await eventually(lambda: served.methods.count("tools/call") == 2)
                running.process.send_signal(signal.SIGTERM)
                await eventually(lambda: any(line["message"] == "stopping" for line in running.lines))
                # In flight while it stops: both calls end well, the standing stream is ended, nobody new gets in.
                with contextlib.suppress(httpx2.TransportError):
                    assert (await http.get(f"{running.base}/readyz")).status_code == 503
                server.end.set()
                assert [(await call).structured_content for call in calls] == [{"result": "done"}] * 2
            assert await running.process.wait() == 0
    assert running.lines[-1]["message"] == "stopped"
    assert "top-s3cret" not in json.dumps(running.lines)
    assert {"time", "level", "logger", "message"} <= running.lines[0].keys()
    swapped = next(line for line in running.lines if line["message"] == "configuration in use")
    assert swapped["revision"] == config.revision
    assert not [line for line in running.lines if line["level"] in ("error", "critical")]


async def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    write(tmp_path, json.dumps({"revision": "r1"}))
    async with program(tmp_path) as running:
        port = running.base.rpartition(":")[2]
        second = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mcp_operator_proxy.cli", "serve", "--config-dir", str(tmp_path), "--host", "127.0.0.1", "--port", port,
            env={**os.environ, "PYTHONPATH": str(ROOT / "proxy_image")}, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, error = await second.communicate()
        assert second.returncode == 1
        assert b"cannot listen on 127.0.0.1:" in error
