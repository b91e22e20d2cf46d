# ruff: noqa: SIM117 - nested, in the order in which they start
"""`mcp-operator proxy` as a process, as desktop clients start it."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client
from fastmcp.client.auth import BearerAuth
from fastmcp.client.transports import SSETransport, StdioTransport

from mcp_operator_proxy.library.command import main
from support.backends import Ears, HungServer, client, eventually
from unit.library.servers import STDIO, clock

ROOT = Path(__file__).parents[3]
COMMAND = ["-W", "error::ResourceWarning", "-m", "mcp_operator.cli.main", "proxy", "--wait", "20"]
ENV = {"PYTHONPATH": os.pathsep.join((str(ROOT / "operator"), str(ROOT / "proxy_image"))), "PATH": os.environ["PATH"]}


def desktop(*arguments: str, mode: str = "legacy", env: dict[str, str] | None = None, **options: Any) -> Client[Any]:
    transport = StdioTransport(sys.executable, [*COMMAND, *arguments], env={**ENV, **(env or {})}, keep_alive=False)
    return Client(transport, mode=mode, **options)


class Served:
    """The command on a port."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode())

    @property
    def url(self) -> str | None:
        found = [re.search(r"serving (\S+)", line) for line in self.lines]
        return next((match[1] for match in found if match), None)


@contextlib.asynccontextmanager
async def served(*arguments: str, env: dict[str, str] | None = None) -> AsyncIterator[Served]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *COMMAND, *arguments,
        env={**ENV, **(env or {})}, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    running = Served(process)
    reading = asyncio.create_task(running.read())
    try:
        await eventually(lambda: running.url or process.returncode is not None, 90)
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def test_a_url_in_a_desktop_client() -> None:
    async with clock() as backend:
        arguments = (backend.url, "--name", "clock", "--header", "X-Key: ${KEY}", "--header-env", "X-Other=OTHER")
        env = {"KEY": "k1", "OTHER": "k${2}"}
        async with desktop(*arguments, env=env) as through:
            assert {"get_current_time", "slow"} <= {tool.name for tool in await through.list_tools()}
            result = await through.call_tool("get_current_time", {"timezone": "UTC"})
            assert result.structured_content == {"timezone": "UTC", "time": "12:00"}
            assert through.initialize_result.server_info.name == "clock"
        assert {(r.get("x-key"), r.get("x-other")) for r in backend.requests} == {("k1", "k${2}")}


async def test_a_config_file_is_hot_swapped(tmp_path: Path) -> None:
    file, ears = tmp_path / "claude_desktop_config.json", Ears()
    async with clock() as backend:
        servers: dict[str, Any] = {"clock": {"type": "http", "url": backend.url}}
        file.write_text(json.dumps({"mcpServers": servers}))
        env = {"KEY": "hunter2"}
        async with desktop("--config", str(file), env=env, message_handler=ears) as through:
            assert "clock_get_current_time" in {tool.name for tool in await through.list_tools()}
            servers["env"] = {**STDIO, "env": {"TOKEN": "${KEY}"}}
            file.write_text(json.dumps({"mcpServers": servers}))
            await eventually(lambda: "notifications/tools/list_changed" in ears.heard, 60)
            assert {"env_show", "clock_slow"} <= {tool.name for tool in await through.list_tools()}
            assert (await through.call_tool("env_show", {})).structured_content["token"] == "hunter2"


async def test_on_a_port_with_a_key(tmp_path: Path) -> None:
    file = tmp_path / "servers.yaml"
    async with clock() as backend:
        file.write_text(f"proxy: {{namespace: my}}\nservers:\n  clock: {{url: '{backend.url}'}}\n")
        arguments = ("--config", str(file), "--port", "0", "--api-key-env", "KEY", "--access-log")
        async with served(*arguments, env={"KEY": "a-key-of-20-characters"}) as running:
            url = running.url or ""
            assert url.endswith("/mcp"), running.lines
            async with client(url, auth=BearerAuth("a-key-of-20-characters")) as remote:
                assert (await remote.call_tool("my.clock.get_current_time", {})).structured_content
            running.process.send_signal(signal.SIGTERM)
            assert await running.process.wait() == 0
            assert running.process.stdout is not None
            logged = [json.loads(line) for line in (await running.process.stdout.read()).splitlines()]
            assert {("tools/call", "my.clock.get_current_time", "ok")} <= {
                (line.get("method"), line.get("name"), line.get("outcome")) for line in logged
            }
            assert "a-key-of-20-characters" not in str(logged)


async def test_the_legacy_transport_towards_clients_and_server() -> None:
    async with clock(transport="sse") as backend:
        async with served(backend.url, "--transport", "sse", "--transport-type", "sse", "--port", "0") as running:
            url = running.url or ""
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/sse", url), running.lines
            async with Client(SSETransport(url)) as remote:
                assert (await remote.call_tool("get_current_time", {})).structured_content


async def test_nothing_but_the_protocol_on_stdout_and_an_orderly_end() -> None:
    """Stdin ends after the last request: its answer still comes. A signal ends it too."""
    handshake = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    messages = [
        {"id": 0, "method": "initialize", "params": handshake},
        {"method": "notifications/initialized"},
        {"id": 1, "method": "tools/call", "params": {"name": "get_current_time", "arguments": {}}},
    ]
    sent = b"".join(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n" for message in messages)
    async with clock() as backend:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *COMMAND, backend.url, "--log-level", "debug",
            env=ENV, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate(sent)
        assert process.returncode == 0
        answers = [json.loads(line) for line in out.splitlines()]
        assert [answer["id"] for answer in answers] == [0, 1]
        assert answers[1]["result"]["structuredContent"]["time"] == "12:00"
        assert err
        process = await asyncio.create_subprocess_exec(
            sys.executable, *COMMAND, backend.url,
            env=ENV, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(sent)
        for _ in range(2):
            await process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await process.wait() == 0


@pytest.mark.parametrize("front", [[], ["--port", "0"]], ids=["stdio", "http"])
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_servers_are_waited_for(front: list[str], sig: signal.Signals) -> None:
    async with HungServer() as hung:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *COMMAND, hung.url, *front,
            env=ENV, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await eventually(lambda: hung.connections > 0, seconds=90)
        process.send_signal(sig)
        async with asyncio.timeout(60):
            _, err = await process.communicate()
        assert process.returncode == 0, err
        assert b"Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give exactly one of URL and --config FILE"),
        (["http://127.0.0.1:9/mcp", "--config", "x"], "give exactly one of URL and --config FILE"),
        (["nonsense"], "proxy: URL: must be an http or https URL"),
        (["--config", "/nonexistent.json"], "/nonexistent.json: cannot be read: No such file or directory"),
        (["--config", "x", "--header", "A: b"], "--header is for a URL; with --config write it into the file"),
        (["http://127.0.0.1:9/mcp", "--header", "Ab"], "--header needs 'NAME: VALUE'"),
        (["http://127.0.0.1:9/mcp", "--header-env", "Ab"], "--header-env needs NAME=VARIABLE"),
        (["http://127.0.0.1:9/mcp", "--header-env", "A=NO_SUCH_V"], "--header-env: the environment variable NO_SUCH_V is not set"),
        (["http://127.0.0.1:9/mcp", "--header", "A: ${NO_SUCH_V}"], "proxy: --header A: the environment variable NO_SUCH_V is not set"),
        (["http://127.0.0.1:9/mcp", "--api-key-env", "PATH", "--transport", "stdio"], "--api-key-env is for --transport http and sse"),
        (["http://127.0.0.1:9/mcp", "--access-log", "--transport", "stdio"], "--access-log is for --transport http and sse"),
        (["http://127.0.0.1:9/mcp", "--naming", "x"], "proxy: --naming: naming template needs {tool} exactly once"),
        (["http://me:s3cret@127.0.0.1:9/mcp"], "proxy: URL: must hold no user and password"),
        (["http://127.0.0.1:9/mcp", "--allowed-origin", "here"], "proxy: --allowed-origin: 'here' is no origin"),
        (["http://127.0.0.1:9/mcp", "--transport", "stdio"], "proxy: --port is for --transport http and sse"),
        (["http://127.0.0.1:9/mcp", "--api-key-env", "SHORT"], "proxy: --api-key-env: the key of api-key must be at least 16"),
    ],
)  # fmt: skip
def test_wrong_arguments(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHORT", "s3cret")
    assert main(["--transport", "http", "--port", "0", *arguments]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "s3cret" not in told


def test_an_address_that_cannot_be_had_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:  # what a name server would say
        raise OSError(socket.EAI_NONAME, "Name or service not known (while attempting to bind)")

    monkeypatch.setattr(socket, "create_server", unknown)
    assert main(["http://127.0.0.1:9/mcp", "--host", "nowhere.invalid", "--port", "0"]) == 1
    told = capsys.readouterr().err
    assert "cannot listen on nowhere.invalid:0: the name of the host does not resolve" in told
    assert "anybody who reaches nowhere.invalid can call every tool; --api-key-env asks for a key" in told


@pytest.mark.parametrize(
    "arguments", [["--port", "x"], ["--port", "70000"], ["--transport", "pipe"], ["--timeout", "0"]]
)
def test_arguments_that_argparse_refuses(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["http://127.0.0.1:9/mcp", *arguments])
    assert caught.value.code == 2
    assert "usage: mcp-operator proxy" in capsys.readouterr().err
