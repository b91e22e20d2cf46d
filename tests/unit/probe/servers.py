"""Servers on loopback to probe: real MCP servers, and raw ones that say exactly what a test wants said."""

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import uvicorn
from fastmcp import FastMCP

Connection = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def mcp_server(tools: int = 2, *, page_size: int | None = None) -> FastMCP[None]:
    server: FastMCP[None] = FastMCP("weather", version="1.2.3", list_page_size=page_size)

    def measure(city: str) -> str:
        """Measure it."""
        return city

    for number in reversed(range(tools)):
        server.tool(measure, name=f"measure_{number}")
    return server


def listening_socket() -> socket.socket:
    # With the protocol named: asyncio sets TCP_NODELAY only then, and without it each answer waits 40 ms for an ACK.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


@contextlib.asynccontextmanager
async def served(app: Any, tls: tuple[Path, Path] | None = None) -> AsyncIterator[str]:
    """An ASGI app on a free port; gives its base URL. `tls`: certificate and key."""
    listener = listening_socket()
    certificate, key = tls or (None, None)
    config = uvicorn.Config(
        app, log_config=None, ws="none", timeout_graceful_shutdown=1, ssl_certfile=certificate, ssl_keyfile=key
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.002)
        yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listener.close()


@contextlib.asynccontextmanager
async def raw(handle: Connection, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A TCP server that does what `handle` does with each connection; gives its base URL."""
    handling: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handling.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handle(reader, writer)
        writer.transport.abort() if task.cancelling() else writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in handling:
            task.cancel()
        if handling:
            await asyncio.wait(handling)
        await server.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    """Request line, headers (lower case) and body of one HTTP/1.1 request with a Content-Length."""
    line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in lines if text)}
    return line, headers, await reader.readexactly(int(headers.get("content-length", "0")))


@dataclass(frozen=True)
class Reply:
    """Bytes to send, then what to do: `keep` the connection, `close` it, or `hang`: hold it open and say no more."""

    data: bytes = b""
    then: Literal["keep", "close", "hang"] = "keep"


def http(
    status: str,
    body: bytes = b"",
    *,
    length: int | None = None,
    then: Literal["keep", "close", "hang"] = "keep",
    **headers: str,
) -> Reply:
    """An HTTP/1.1 answer. Header names: `_` for `-`. `length`: a Content-Length other than the body's."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Reply("\r\n".join([*lines, "", ""]).encode() + body, then)


def as_json(value: Any, status: str = "200 OK") -> Reply:
    return http(status, json.dumps(value).encode(), content_type="application/json")


def event_stream(data: bytes) -> Reply:
    """An SSE answer that ends with the connection."""
    return Reply(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + data, "close")


def always(reply: Reply) -> Connection:
    """Gives every request the same answer."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            await send(writer, reply)

    return handle


async def send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    writer.write(reply.data)
    await writer.drain()
    if reply.then == "hang":
        await asyncio.Event().wait()
    if reply.then == "close":
        writer.close()
        raise ConnectionAbortedError


@dataclass(frozen=True)
class RPCError:
    message: str
    code: int = -32603
    status: str = "200 OK"


INITIALIZED: Final = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "scripted", "version": "0.1"},
}


class Scripted:
    """An MCP server of the handshake era with the answers that a test gives it, by RPC method (or GET, DELETE).

    An answer is a result, a function from params to a result, an `RPCError`, or a `Reply`. `methods` and `headers` hold what came in.
    """

    def __init__(self, script: Mapping[str, Any] | None = None) -> None:
        self.methods: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._script = {
            "initialize": INITIALIZED,
            "tools/list": {"tools": []},
            "GET": http("405 Method Not Allowed"),
            "DELETE": http("204 No Content"),
        } | dict(script or {})

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            line, headers, body = await read_request(reader)
            message = json.loads(body or b"{}")
            method = message.get("method") or line.partition(" ")[0]
            self.methods.append(method)
            self.headers.append(headers)
            await send(writer, self._reply(method, message))

    def _reply(self, method: str, message: dict[str, Any]) -> Reply:
        scripted = self._script.get(method)
        if isinstance(scripted, Reply):
            return scripted
        if "id" not in message:
            return http("202 Accepted")
        if scripted is None:
            scripted = RPCError("Method not found", -32601)
        if isinstance(scripted, RPCError):
            error = {"code": scripted.code, "message": scripted.message}
            return as_json({"jsonrpc": "2.0", "id": message["id"], "error": error}, scripted.status)
        result = scripted(message.get("params") or {}) if callable(scripted) else scripted
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
        return http("200 OK", body, content_type="application/json", mcp_session_id="s1")


def tool(name: str) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object"}}
