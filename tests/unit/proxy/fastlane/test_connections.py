"""Connections to backends: TLS, unix sockets, odd and hostile answers, one request for each call."""

import asyncio
import contextlib
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httptools
import pytest

from mcp_operator_proxy.backends.connect import Target
from mcp_operator_proxy.fastlane.connection import FORGOTTEN_SECONDS, BackendConnection, Malformed
from mcp_operator_proxy.fastlane.pool import Address, Pool
from support.backends import ServedApp
from support.gateway import make_config, running_gateway
from support.rawclient import raw_client
from support.scripted import Scripted
from support.tls import make_certificate
from support.waiting import Eventually

TAKEN = "mcp_proxy_fast_lane_requests_total"


class Waiter:
    """A receiver that keeps what it hears."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.how = ""
        self.error: Exception | None = None
        self.over = asyncio.Event()

    def headed(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.status, self.headers = status, headers

    def received(self, chunk: bytes) -> None:
        self.body += chunk

    def ended(self) -> None:
        self.how = "ended"
        self.over.set()

    def lost(self, error: Exception | None) -> None:
        self.how, self.error = "lost", error
        self.over.set()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on a port; its connections end with it."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(OSError):
                await handler(reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def answering(*parts: bytes, close: bool = True) -> AsyncIterator[Target]:
    """A server that answers whatever comes with these bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            if close:
                writer.close()
                await writer.wait_closed()
                return

    async with serving(answer) as port:
        yield Target(url=f"http://127.0.0.1:{port}/mcp")


async def asked(pool: Pool) -> Waiter:
    waiter = Waiter()
    connection = pool.take()

    def ready(connection: BackendConnection) -> None:
        connection.send(waiter, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")

    if connection is not None:
        ready(connection)
    else:
        pool.connect(ready, waiter.lost)
    async with asyncio.timeout(10):
        await waiter.over.wait()
    return waiter


BODIES = [
    (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "ended"),
    (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "ended"),
    (b"HTTP/1.1 200 OK\r\n\r\nhello", "ended"),
    (b"HTTP/1.0 200 OK\r\n\r\nhello", "ended"),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "ended"),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", "lost"),
    (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "lost"),
]


@pytest.mark.parametrize(("response", "how"), BODIES)
@pytest.mark.parametrize("cut", [1, 7, 1000])
async def test_bodies_of_every_kind(response: bytes, how: str, cut: int) -> None:
    parts = [response[i : i + cut] for i in range(0, len(response), cut)]
    async with answering(*parts) as target:
        pool = Pool(target)
        waiter = await asked(pool)
        assert (waiter.how, waiter.status, waiter.body) == (how, 200, b"hello")
        pool.close()


@pytest.mark.parametrize(
    "response",
    [
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
    ],
)
async def test_what_is_no_response_is_refused(response: bytes) -> None:
    async with answering(response, close=False) as target:
        pool = Pool(target)
        waiter = await asked(pool)
        assert waiter.how == "lost"
        assert isinstance(waiter.error, Malformed)
        assert pool.take() is None
        pool.close()


async def test_a_second_response_that_nobody_asked_for_is_no_answer_to_the_next(eventually: Eventually) -> None:
    one = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n"
    async with answering(one + b"a" + one + b"b", close=False) as target:
        pool = Pool(target)
        first = await asked(pool)
        assert first.body == b"a"
        await eventually(lambda: len(pool) == 0)
        assert pool.take() is None
        pool.close()


async def test_connections_are_kept_and_end_when_idle(monkeypatch: pytest.MonkeyPatch, eventually: Eventually) -> None:
    async with answering(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na", close=False) as target:
        pool = Pool(target)
        for _ in range(5):
            await asked(pool)
            assert len(pool) == 1
        pool.close()
        await eventually(lambda: len(pool) == 0)
        monkeypatch.setattr("mcp_operator_proxy.fastlane.pool.KEPT_SECONDS", 0.1)
        pool = Pool(target)
        await asked(pool)
        await eventually(lambda: len(pool) == 0)
        await asked(pool)
        pool.close()
        await eventually(lambda: len(pool) == 0)


def test_addresses() -> None:
    found = Address.of(Target(url="https://me@[::1]:8443/a/mcp?b=c"))
    assert (found.host, found.port, found.tls, found.authority, found.path) == (
        "::1",
        8443,
        True,
        "[::1]:8443",
        "/a/mcp?b=c",
    )
    assert Address.of(Target(url="http://example.com")).path == "/"
    assert Address.of(Target(url="https://example.com/mcp")).port == 443
    assert FORGOTTEN_SECONDS > 0


def test_what_is_used_of_httptools_is_there() -> None:
    parser = httptools.HttpResponseParser(object())
    for name in ("feed_data", "get_status_code", "should_keep_alive"):
        assert callable(getattr(parser, name))


async def test_a_server_behind_tls_is_reached_through_the_lane(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    scripted = Scripted("modern")
    async with ServedApp(scripted.app) as plain:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.certificate, made.key)
        async with _tunnel(plain.port, context) as port:
            config = make_config({"a": f"https://127.0.0.1:{port}/mcp"}, server={"ca_bundle": made.pem})
            async with running_gateway(config) as gateway, raw_client(gateway.url, "modern") as client:
                answer = await client.call("a_text")
                assert answer.message is not None
                assert "result" in answer.message
                assert gateway.proxy.metrics.registry.get_sample_value(TAKEN, {"outcome": "answered"}) == 1


@contextlib.asynccontextmanager
async def _tunnel(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """TLS in front of a port of this machine."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()

        try:
            await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))
        finally:
            inner_writer.transport.abort()
            await inner_writer.wait_closed()

    async with serving(pass_on, context) as own:
        yield own


async def test_a_process_of_the_proxy_is_reached_through_the_lane(tmp_path: Path) -> None:
    program = tmp_path / "server.py"
    program.write_text(STDIO_SERVER)
    stdio = {"command": sys.executable, "args": [str(program)]}
    servers = [{"id": "ns/a", "stdio": stdio}]
    routes = [{"name": "McpProxy/ns/tools", "path": "/mcp", "servers": [{"server": "ns/a", "prefix": "a"}]}]
    config = make_config({}, routes=routes, servers=servers)
    async with running_gateway(config) as gateway, raw_client(gateway.url, "legacy") as client:
        for _ in range(3):
            answer = await client.call("a_echo", {"text": "hi"})
            assert answer.message is not None
            assert answer.message["result"]["content"][0]["text"] == "hi"
        assert gateway.proxy.metrics.registry.get_sample_value(TAKEN, {"outcome": "answered"}) == 2


STDIO_SERVER = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    method, known = message.get("method"), message.get("id")
    if known is None:
        continue
    result = None
    if method == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}
    elif method == "tools/call":
        result = {"content": [{"type": "text", "text": message["params"]["arguments"]["text"]}]}
    elif method == "ping":
        result = {}
    end = {"result": result} if result is not None else {"error": {"code": -32601, "message": "no"}}
    print(json.dumps({"jsonrpc": "2.0", "id": known, **end}), flush=True)
"""


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_one_call_is_one_request(era: str) -> None:
    scripted = Scripted(era)  # type: ignore[arg-type]
    async with (
        ServedApp(scripted.app) as served,
        running_gateway(make_config({"a": served.url})) as gateway,
        raw_client(gateway.url, era) as client,  # type: ignore[arg-type]
    ):
        await client.call("a_text")
        scripted.calls.clear()
        scripted.others.clear()
        await asyncio.gather(*(client.call("a_text", {"n": n}) for n in range(40)))
        counted = Counter(sent.params["arguments"]["n"] for sent in scripted.calls)
        assert counted == dict.fromkeys(range(40), 1)
        assert len({sent.body["id"] for sent in scripted.calls}) == 40
        assert scripted.others == []
