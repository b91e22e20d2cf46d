"""stdin and stdout at the front, through real pipes."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastmcp import FastMCP
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY

from mcp_operator_proxy.fronts.stdio import serve_stdio
from mcp_operator_proxy.fronts.takeover import Pipes
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.tasks import cancel
from support.backends import ServedMCP, eventually
from support.gateway import make_config
from support.waitingserver import WaitingServer

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}
ENVELOPE = {
    PROTOCOL_VERSION_META_KEY: "2026-07-28",
    CLIENT_INFO_META_KEY: INITIALIZE["clientInfo"],
    CLIENT_CAPABILITIES_META_KEY: {},
}


class Desktop:
    """The other end: writes lines, keeps the lines that come."""

    def __init__(self, stdin: int, stdout: int) -> None:
        self._stdin: int | None = stdin
        self._stdout = stdout
        self.lines: list[dict[str, Any]] = []
        self.ended = False
        self._buffer = b""
        os.set_blocking(stdout, False)
        asyncio.get_running_loop().add_reader(stdout, self._readable)

    def _readable(self) -> None:
        chunk = os.read(self._stdout, 1 << 20)
        if not chunk:
            self.ended = True
            asyncio.get_running_loop().remove_reader(self._stdout)
        *complete, self._buffer = (self._buffer + chunk).split(b"\n")
        self.lines += [json.loads(line) for line in complete]  # whatever is no JSON fails the test

    async def write(self, data: bytes) -> None:
        assert self._stdin is not None
        await asyncio.to_thread(_write_all, self._stdin, data)

    async def send(self, method: str, params: dict[str, Any] | None = None, request_id: int | None = None) -> None:
        message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        await self.write(json.dumps({k: v for k, v in message.items() if v is not None}).encode() + b"\n")

    async def answer(self, request_id: int | None) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            return next((line for line in self.lines if line.get("id", 0) == request_id and "method" not in line), None)

        await eventually(found)
        return found() or {}

    async def ask(self, method: str, params: dict[str, Any], request_id: int) -> dict[str, Any]:
        await self.send(method, params, request_id)
        return await self.answer(request_id)

    async def handshake(self) -> dict[str, Any]:
        answer = await self.ask("initialize", INITIALIZE, 0)
        await self.send("notifications/initialized")
        return answer

    def hear(self, method: str) -> bool:
        return any(line.get("method") == method for line in self.lines)

    def close_stdin(self) -> None:
        if self._stdin is not None:
            os.close(self._stdin)
            self._stdin = None

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._stdout)
        self.close_stdin()
        os.close(self._stdout)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextlib.asynccontextmanager
async def served(proxy: Proxy, **options: Any) -> AsyncIterator[tuple[Desktop, "asyncio.Task[None]"]]:
    """A desktop client on the route /mcp of `proxy`, and the task that serves it."""
    (stdin, client_out), (client_in, stdout) = os.pipe(), os.pipe()
    desktop = Desktop(client_out, client_in)
    serving = asyncio.create_task(
        serve_stdio(proxy.endpoints["/mcp"].channels, Pipes(stdin, stdout), **options), name="serving"
    )
    try:
        yield desktop, serving
    finally:
        desktop.close()
        await cancel([serving])
        await asyncio.to_thread(lambda: None)
        os.close(stdout)
        os.close(stdin)


def server() -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("b")

    @mcp.tool
    def add(a: int, b: int) -> int:
        return a + b

    return mcp


async def test_the_handshake_eras_and_a_swap() -> None:
    async with ServedMCP(server()) as backend, Proxy(warm_seconds=20) as proxy:
        await proxy.apply(make_config({"b": backend.url}))
        async with served(proxy) as (desktop, serving):
            assert (await desktop.handshake())["result"]["protocolVersion"] == "2025-11-25"
            answer = await desktop.ask("tools/call", {"name": "b_add", "arguments": {"a": 1, "b": 2}}, 1)
            assert answer["result"]["structuredContent"] == {"result": 3}
            await eventually(lambda: proxy.status().sessions == 1)
            await proxy.apply(make_config({"c": backend.url}))
            await eventually(lambda: desktop.hear("notifications/tools/list_changed"))
            listed = await desktop.ask("tools/list", {}, 2)
            assert [tool["name"] for tool in listed["result"]["tools"]] == ["c_add"]
            desktop.close_stdin()
            await serving
        assert proxy.status().sessions == 0


async def test_the_era_without_a_handshake() -> None:
    async with ServedMCP(server()) as backend, Proxy(warm_seconds=20) as proxy:
        await proxy.apply(make_config({"b": backend.url}))
        async with served(proxy) as (desktop, serving):
            discovered = await desktop.ask("server/discover", {"_meta": ENVELOPE}, 1)
            assert "2026-07-28" in discovered["result"]["supportedVersions"]
            wanted = {"_meta": ENVELOPE, "notifications": {"toolsListChanged": True}}
            await desktop.send("subscriptions/listen", wanted, 2)
            await eventually(lambda: desktop.hear("notifications/subscriptions/acknowledged"))
            params = {"name": "b_add", "arguments": {"a": 1, "b": 2}, "_meta": ENVELOPE}
            assert (await desktop.ask("tools/call", params, 3))["result"]["structuredContent"] == {"result": 3}
            await proxy.apply(make_config({"c": backend.url}))
            await eventually(lambda: desktop.hear("notifications/tools/list_changed"))
            refused = await desktop.ask("initialize", INITIALIZE, 4)
            assert refused["error"]["code"] == -32022
            desktop.close_stdin()  # the subscription stays open: nobody waits for its end
            await serving


@pytest.mark.parametrize(
    ("line", "code"),
    [(b"hello", -32700), (b"[]", -32700), (b'{"jsonrpc": "2.0"}', -32700), (b" " * 5_000_000 + b"x", -32600)],
    ids=["no JSON", "a batch", "no message", "too long"],
)
async def test_a_bad_line_is_answered_and_the_next_one_is_served(line: bytes, code: int) -> None:
    async with Proxy() as proxy:
        await proxy.apply(make_config({}))
        async with served(proxy) as (desktop, _):
            await desktop.write(line + b"\r\n\n")
            assert (await desktop.answer(None))["error"]["code"] == code
            await desktop.handshake()
            assert (await desktop.ask("ping", {}, 1))["result"] == {}


async def test_the_end_of_stdin_waits_for_answers() -> None:
    server = WaitingServer()
    async with ServedMCP(server.mcp) as backend, Proxy(warm_seconds=20) as proxy:
        await proxy.apply(make_config({"b": backend.url}))
        async with served(proxy) as (desktop, serving):
            await desktop.handshake()
            await desktop.send("tools/call", {"name": "b_wait", "arguments": {}}, 1)
            await server.begun.wait()
            await desktop.send("ping", {}, 2)
            await desktop.answer(2)
            desktop.close_stdin()
            server.end.set()
            assert (await desktop.answer(1))["result"]["structuredContent"] == {"result": "done"}
            await serving


async def test_the_end_of_stdin_waits_for_no_call_for_ever() -> None:
    begun = asyncio.Event()
    mcp: FastMCP[Any] = FastMCP("b")

    @mcp.tool
    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with ServedMCP(mcp) as backend, Proxy(warm_seconds=20) as proxy:
        await proxy.apply(make_config({"b": backend.url}))
        async with served(proxy, grace_seconds=0.05) as (desktop, serving):
            await desktop.handshake()
            await desktop.send("tools/call", {"name": "b_wait", "arguments": {}}, 1)
            await begun.wait()
            desktop.close_stdin()
            await serving
            assert not proxy.endpoints["/mcp"].channels


async def test_a_client_that_has_gone_ends_it() -> None:
    async with Proxy() as proxy:
        await proxy.apply(make_config({}))
        async with served(proxy) as (desktop, serving):
            await desktop.handshake()
            asyncio.get_running_loop().remove_reader(desktop._stdout)
            os.close(desktop._stdout)
            await desktop.send("ping", {}, 1)
            await serving
            desktop._stdout = os.open(os.devnull, os.O_RDONLY)
