"""The commands of the documents that need no cluster, run as they stand there, in a folder that has what the page says it has.

A command that tests elsewhere start as a process (tests/unit/library/test_command.py, tests/cluster/test_docs.py) is run within this
one, as each start takes seconds. What lies outside of the machine is replaced: `https://….example.com` by a server on loopback,
`uvx` and `npx` (which would fetch packages) by programs that start a server with the tool `get_current_time`; and what listens does
so on a free port.
"""

import argparse
import ast
import asyncio
import contextlib
import io
import json
import os
import re
import shlex
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastmcp import Client
from fastmcp.client.transports import SSETransport

from mcp_operator.cli.main import main as operator
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.library.command import _made as made
from mcp_operator_proxy.library.command import _parser as parser
from mcp_operator_proxy.library.run import run_http
from mcp_operator_proxy.tasks import cancel
from support.documents import BLOCKS, ROOT, Block, scenario
from support.gateway import make_config, running_gateway
from unit.library.servers import clock
from unit.local.harness import TINY, Local
from unit.proxy.rest.backends import calculator

ELSEWHERE = re.compile(r"https://(?:\w+\.)?example\.com/(?:mcp|sse)")


class World:
    """A folder with our programs and those of packages on PATH; `url` is that of the server on loopback."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        programs = folder / "bin"
        programs.mkdir()
        self._program(programs / "mcp-operator", "-m", "mcp_operator")
        for name in ("uvx", "npx"):
            self._program(programs / name, "-S", str(TINY), "get_current_time", arguments=False)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "XDG_RUNTIME_DIR": str(folder), "DOCS_TOKEN": "d"}
        (folder / "examples").symlink_to(ROOT / "examples")

    @staticmethod
    def _program(path: Path, *words: str, arguments: bool = True) -> None:
        line = [sys.executable, *words, *(['"$@"'] if arguments else [])]
        path.write_text(f"#!/bin/sh\nexec {' '.join(line)}\n")
        path.chmod(0o755)

    def here(self, text: str) -> str:
        return ELSEWHERE.sub(self.url, text)

    def write(self, *pages: str) -> None:
        """The files whose content stands on these pages."""
        for block in BLOCKS:
            if block.file and block.page in pages:
                (self.folder / block.file).write_text(self.here(block.text))

    def run_here(self, command: str) -> str:
        """Run `mcp-operator …`, maybe with `> FILE`, in the folder and within this process; what it prints on standard output."""
        words, _, file = self.here(command).strip().partition(" > ")
        out = io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(out):
            assert operator(shlex.split(words)[1:]) == 0
        if file:
            (self.folder / file).write_text(out.getvalue())
        return out.getvalue()

    async def run(self, script: str, **more: str) -> tuple[int, str, str]:
        """Run a whole block by bash, which ends at the first command that fails."""
        process = await asyncio.create_subprocess_exec(
            "bash", "-euo", "pipefail", "-c", self.here(script),
            cwd=self.folder, env={**self.environment, **more}, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    @contextlib.asynccontextmanager
    async def serving(self, command: str, *more: str) -> AsyncIterator[Local]:
        """Run one command that serves until it is ended; what it prints are `lines`."""
        text = " ".join(["exec", self.here(command), *more])
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", text, cwd=self.folder, env=self.environment, stdout=PIPE, stderr=PIPE, start_new_session=True
        )
        running = Local(process, self.folder)
        try:
            yield running
        finally:
            await running.stop()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with clock() as served:
        yield World(tmp_path, served.url)


def commands(*blocks: Block) -> list[str]:
    """Each line of these blocks, without its comment, once."""
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.commands.splitlines()]
    return list(dict.fromkeys(line for line in lines if line))


async def _tools(client: Client[Any]) -> set[str]:
    async with client:
        return {tool.name for tool in await client.list_tools()}


async def test_moving_from_a_desktop_client(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Import, look, run: the client's file becomes one endpoint, and credentials are nowhere but in the file for them."""
    world.write("docs/desktop-clients.md")
    imported, rendered, local = (block.commands for block in scenario("desktop", "docs/desktop-clients.md"))
    world.run_here(imported)
    assert "github-issues" in capsys.readouterr().err
    assert "ghp_" not in (world.folder / "servers.yaml").read_text()
    assert (world.folder / "secrets.yaml").stat().st_mode & 0o777 == 0o600
    out = world.run_here(rendered)
    assert {"Deployment", "Service", "ConfigMap"} <= {body["kind"] for body in yaml.safe_load_all(out) if body}
    assert "example-token" not in out
    (entry,) = [block for block in BLOCKS if block.test == "local-entry" and block.page == "docs/desktop-clients.md"]
    async with world.serving(local.strip(), "--port", "0", "--no-table") as running:
        await running.said(r"^}$")
        said = json.loads("\n".join(line for line in running.lines if line[:1] in " {}"))
        url = said["mcpServers"]["tools"].pop("url")
        expected = json.loads(entry.text)
        assert expected["mcpServers"]["tools"].pop("url") == re.sub(r":\d+/", ":8080/", url)
        assert said == expected
        await running.said("McpProxy/default/tools ready=True")
        assert {"time_get_current_time", "github-issues_get_current_time", "docs_get_current_time"} <= await _tools(
            Client(url)
        )


def test_the_import_stands_twice_in_the_same_words() -> None:
    (block,) = scenario("desktop", "docs/cli.md")
    assert block.commands == scenario("desktop", "docs/desktop-clients.md")[0].commands


WITHOUT_A_CLUSTER = commands(*scenario("local"), *scenario("without-a-cluster"))


def test_what_runs_without_a_cluster_is_known() -> None:
    assert WITHOUT_A_CLUSTER == [
        "mcp-operator local -f examples/quickstart",
        "mcp-operator render -f examples/quickstart",
        "mcp-operator proxy https://example.com/mcp",
    ]


async def test_local_mode(world: World) -> None:
    """The quickstart, whose packages are replaced as said above; `make demo` runs it with the real ones."""
    (command,) = [command for command in WITHOUT_A_CLUSTER if " local " in command]
    async with world.serving(command, "--port", "0", "--no-table") as running:
        await running.said("McpProxy/default/tools ready=True")
        wanted = {"time_get_current_time", "fetch_get_current_time", "everything_get_current_time"}
        assert wanted <= await _tools(Client(await running.url()))


def test_render(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = [command for command in WITHOUT_A_CLUSTER if " render " in command]
    monkeypatch.chdir(ROOT)
    assert operator(shlex.split(command)[1:]) == 0
    made = {(body["kind"], body["metadata"]["name"]) for body in yaml.safe_load_all(capsys.readouterr().out) if body}
    assert {("Deployment", "tools-proxy"), ("Deployment", "time-server"), ("ConfigMap", "tools-proxy-config")} <= made


PROXIES = commands(*scenario("proxy"))


@pytest.mark.parametrize("command", PROXIES)
async def test_the_proxy_command(world: World, command: str) -> None:
    world.write("docs/proxy-command.md")
    wanted = "proxy.time.now" if "--config" in command else "get_current_time"
    args = parser("mcp-operator proxy").parse_args(shlex.split(world.here(command))[2:])
    if args.port is None and args.transport != "sse":
        await _over_stdio(world, command, wanted)
        return
    async with _on_a_port(args) as base:
        client: Client[Any] = Client(SSETransport(f"{base}/sse") if args.transport == "sse" else f"{base}/mcp")
        assert wanted in await _tools(client)


@contextlib.asynccontextmanager
async def _on_a_port(args: argparse.Namespace) -> AsyncIterator[str]:
    """The command within this process, on a free port; its base URL."""
    announced: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    proxy = made(args, args.transport or "http", os.environ)
    serving = asyncio.create_task(run_http(proxy, "127.0.0.1", 0, announced.set_result))
    try:
        await asyncio.wait([announced, serving], return_when=asyncio.FIRST_COMPLETED)
        yield announced.result()
    finally:
        await cancel([serving])


async def _over_stdio(world: World, command: str, wanted: str) -> None:
    """Lists tools as a desktop client does, by lines on stdin and stdout, until the tool is there; the command ends when stdin does."""
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", f"exec {world.here(command)}", cwd=world.folder, env=world.environment, stdin=PIPE, stdout=PIPE
    )
    assert process.stdin
    assert process.stdout

    def say(message: dict[str, Any]) -> None:
        assert process.stdin
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "docs", "version": "1"}}
    say({"id": 1, "method": "initialize", "params": client})
    say({"method": "notifications/initialized"})
    say({"id": 2, "method": "tools/list"})
    names: set[str] = set()
    while wanted not in names:
        heard = json.loads(await process.stdout.readline())
        if heard.get("id") == 2:
            names = {tool["name"] for tool in heard["result"]["tools"]}
        elif heard.get("method") == "notifications/tools/list_changed":  # a server has come that was slow to start
            say({"id": 2, "method": "tools/list"})
    process.stdin.close()
    assert await process.wait() == 0


def test_what_is_said_of_a_wrong_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output on the page is that of a file with the two mistakes."""
    (block,) = [block for block in BLOCKS if block.test == "proxy-errors"]
    wrong = {
        "time": {"command": "uvx", "url": "https://example.com/mcp"},
        "docs": {"url": "https://example.com/mcp", "timeout": 5},
    }
    (tmp_path / "servers.json").write_text(json.dumps({"mcpServers": wrong}))
    monkeypatch.chdir(tmp_path)
    assert operator(["proxy", "--config", "servers.json"]) == 2
    assert capsys.readouterr().err == block.text


async def test_rest(world: World) -> None:
    """Each request is answered, and none with a problem."""
    async with calculator() as served:
        server = {"id": "default/calc", "url": served.url}
        route = {
            "name": "McpProxy/default/tools",
            "path": "/mcp",
            "servers": [{"server": "default/calc", "prefix": "calc"}],
        }
        config = ProxyConfig.model_validate({"revision": "1", "servers": [server], "routes": [route], "rest": {}})
        async with running_gateway(config) as gateway:
            for command in commands(*scenario("rest")):
                code, out, err = await world.run(f"{command} --fail-with-body", URL=gateway.base)
                assert code == 0, f"{command}: {out}{err}"
                body = json.loads(out)
                assert "title" not in body
                if "/tools/call" in command:
                    assert body["result"]["structuredContent"] == {"result": 3}


async def test_the_client_in_the_readme(world: World) -> None:
    (block,) = [block for block in BLOCKS if block.test == "client"]
    async with running_gateway(make_config({"time": world.url})) as gateway:
        text = re.sub(r"http://tools-proxy[^\"]*", gateway.url, block.text)
        assert text != block.text
        await eval(compile(text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), {})
