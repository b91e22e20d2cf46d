"""A process that was told to end, while clients keep their connections: they leave it without losing a request.

idle connections: each is answered once more, with `Connection: close`, by the fast lane's path and the full one
streams: ended with a word, and so are those that are opened meanwhile · none left: it ends at once
a session between two requests goes to another replica, one with a request in flight stays
"""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client as SDKClient

from support.backends import ServedMCP, eventually
from support.gateway import make_config
from support.program import Program, running_program, write_config
from support.replicas import SIGNED, Wire, running_replicas
from support.waitingserver import WaitingServer

LEAVE = "60"
"""Seconds: a test that had to wait for them would fail by its time limit."""
MODERN = {"mcp-protocol-version": "2026-07-28"}


class Connection:
    """One kept connection, on which requests are written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, program: Program) -> "Connection":
        port = int(program.base.rpartition(":")[2])
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, method: str, headers: dict[str, str], **params: Any) -> tuple[bytes, dict[str, Any]]:
        """The head of the answer, and its message."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        named = {"mcp-method": method, **({"mcp-name": params["name"]} if "name" in params else {})}
        lines = {
            "host": "x",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "content-length": str(len(body)),
            **(named if headers is MODERN else {}),
            **headers,
        }
        head = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
        self.writer.write(f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body)
        answered = await self.reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in answered.lower().split(b"\r\n") if line.startswith(b"content-length:")), None
        )
        text = await self.reader.readexactly(length) if length is not None else await self._chunked()
        data = text if text.startswith(b"{") else text.partition(b"data: ")[2].partition(b"\r\n")[0]
        return answered.lower(), json.loads(data)

    async def _chunked(self) -> bytes:
        whole = b""
        while size := int((await self.reader.readline()).strip(), 16):
            whole += (await self.reader.readexactly(size + 2))[:size]
        await self.reader.readline()
        return whole

    async def is_closed(self) -> bool:
        closed = await self.reader.read() == b""
        self.writer.close()
        await self.writer.wait_closed()
        return closed


def meta() -> dict[str, Any]:
    about = {"protocolVersion": "2026-07-28", "clientInfo": {"name": "t", "version": "1"}, "clientCapabilities": {}}
    return {f"io.modelcontextprotocol/{key}": value for key, value in about.items()}


async def stopping(program: Program) -> None:
    program.process.send_signal(signal.SIGTERM)
    await eventually(lambda: any(line["message"] == "stopping" for line in program.lines), 60)


@pytest.mark.parametrize("method", ["tools/call", "tools/list"])
async def test_an_idle_connection_is_answered_once_more(tmp_path: Path, method: str) -> None:
    server = WaitingServer()
    server.end.set()
    async with ServedMCP(server.mcp) as served:
        write_config(tmp_path, make_config({"b": served.url}))
        async with running_program(tmp_path, workers=1, MCP_PROXY_LEAVE_SECONDS=LEAVE) as program:
            await eventually(lambda: any(line["message"] == "configuration in use" for line in program.lines), 60)
            async with SDKClient(program.url, mode="auto") as client:
                await client.list_tools()
            params: dict[str, Any] = {"name": "b_wait", "arguments": {}} if method == "tools/call" else {}
            connections = [await Connection.open(program) for _ in range(2)]
            for connection in connections:
                head, message = await connection.ask(method, MODERN, **params, _meta=meta())
                assert ("result" in message, b"connection: close" in head) == (True, False), message
            await stopping(program)
            for connection in connections:
                head, message = await connection.ask(method, MODERN, **params, _meta=meta())
                assert ("result" in message, b"connection: close" in head) == (True, True), message
                assert await connection.is_closed()
            assert await program.process.wait() == 0, "nobody is left, so it does not wait any longer"


async def test_streams_are_ended_with_a_word_also_new_ones(tmp_path: Path) -> None:
    server = WaitingServer()
    async with ServedMCP(server.mcp) as served:
        write_config(tmp_path, make_config({"b": served.url}))
        async with running_program(tmp_path, workers=1, MCP_PROXY_LEAVE_SECONDS=LEAVE) as program:
            await eventually(lambda: any(line["message"] == "configuration in use" for line in program.lines), 60)
            idle = await Connection.open(program)
            await idle.ask("tools/list", MODERN, _meta=meta())
            async with SDKClient(program.url, mode="auto") as client:

                async def listed() -> bool:
                    return bool((await client.list_tools()).tools)

                await eventually(listed, 60)  # or the coming of its tools would be told, too
                async with client.listen(tools_list_changed=True) as changes:
                    await stopping(program)
                    assert [change async for change in changes] == []
                async with client.listen(tools_list_changed=True) as changes:
                    assert [change async for change in changes] == []
            assert program.process.returncode is None, "the idle connection is waited for"
            await idle.ask("tools/list", MODERN, _meta=meta())
            assert await idle.is_closed()
            assert await program.process.wait() == 0


async def test_a_session_goes_on_elsewhere_between_two_requests() -> None:
    """Asked at the replica that ends and at another one; what is in flight ends where it began."""
    server = WaitingServer()
    async with ServedMCP(server.mcp) as served, httpx2.AsyncClient(timeout=20) as http:
        config = make_config({"b": served.url}, **SIGNED)
        async with running_replicas(2, config, grace_seconds=10) as (a, b):
            idle, direct, busy = Wire(http), Wire(http), Wire(http)
            for wire in (idle, direct, busy):
                await wire.open(a)
            calling = asyncio.create_task(busy.ask(b, "tools/call", name="b_wait", arguments={}))
            await server.begun.wait()
            await a.proxy.drain()
            assert (await idle.ask(b, "ping")).status_code == 200
            assert b.held() == 1
            assert (await direct.ask(a, "ping")).status_code == 200
            assert b.held() == 2
            ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}  # the call has the id 1
            assert (await busy.post(b, ping)).status_code == 200
            assert b.held() == 2, "its call is answered where it is"
            server.end.set()
            assert '"done"' in (await calling).text
            assert (await busy.ask(b, "ping")).status_code == 200
            assert b.held() == 3
            await a.stop()
            assert {(await wire.ask(b, "ping")).status_code for wire in (idle, direct, busy)} == {200}


async def test_alone_it_keeps_its_sessions_to_the_end() -> None:
    async with httpx2.AsyncClient(timeout=20) as http, running_replicas(1, make_config({}, **SIGNED)) as (alone,):
        wire = Wire(http)
        await wire.open(alone)
        await alone.proxy.drain()
        assert (await wire.ask(alone, "ping")).status_code == 200
        assert alone.held() == 1
        stream = await http.get(alone.url, headers=wire.headers)
        assert (stream.status_code, stream.content) == (200, b""), "a stream that lasts would be cut off"
