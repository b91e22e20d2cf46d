"""What one client can hold of the proxy is bounded: its request, its time, and what it does not read."""

import asyncio
import contextlib
import json
from typing import Any

import pytest

from mcp_operator_proxy.fastlane import bounded
from support.backends import ServedApp
from support.gateway import Gateway, make_config, running_gateway
from support.rawclient import ACCEPT, raw_client
from support.scripted import Scripted
from support.waiting import Eventually

HEAD = f"POST /mcp HTTP/1.1\r\nhost: x\r\naccept: {ACCEPT}\r\ncontent-type: application/json\r\n".encode()


async def connected(gateway: Gateway) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(gateway.base.rpartition(":")[2]), limit=4096)


async def flood(writer: asyncio.StreamWriter, chunk: bytes) -> int:
    """Bytes that could be sent until the other side had enough, at most 16 MiB."""
    sent = 0
    try:
        while sent < 2**24:
            writer.write(chunk)
            await writer.drain()
            sent += len(chunk)
    except ConnectionError:
        pass
    return sent


@pytest.mark.parametrize("chunk", [b"x-a: " + b"y" * 16_000 + b"\r\n", b"y" * 16_000])
@pytest.mark.parametrize("begin", [b"POST /mcp HTTP/1.1\r\nhost: x\r\n", b"POST /"])
async def test_a_head_without_end_is_refused(begin: bytes, chunk: bytes) -> None:
    async with running_gateway() as gateway:
        _, writer = await connected(gateway)
        writer.write(begin)
        async with asyncio.timeout(20):
            assert await flood(writer, chunk) < 2**24
        writer.close()


async def test_a_head_that_is_a_little_too_large_is_told_so() -> None:
    async with running_gateway() as gateway:
        reader, writer = await connected(gateway)
        async with asyncio.timeout(10):
            writer.write(HEAD)
            await writer.drain()
            writer.write(b"x-a: " + b"y" * (bounded.MAX_HEAD + 300_000))  # more than one piece
            assert (await reader.read(12)).startswith(b"HTTP/1.1 431")
        writer.close()


@pytest.mark.parametrize(
    "sent", [b"", HEAD, HEAD + b"content-length: 10\r\n\r\n{", HEAD + b"expect: x\r\ncontent-length: 9\r\n\r\n{"]
)
async def test_a_request_that_never_ends_is_cut_off(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "REQUEST_SECONDS", 0.1)
    async with running_gateway() as gateway:
        reader, writer = await connected(gateway)
        writer.write(sent)
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionResetError):
                await reader.read()
        writer.close()


@pytest.mark.parametrize("lane", [True, False])
async def test_a_long_call_is_not_cut_off(lane: bool, monkeypatch: pytest.MonkeyPatch, eventually: Eventually) -> None:
    monkeypatch.setattr(bounded, "REQUEST_SECONDS", 0.05)
    scripted = Scripted("modern")
    checks: list[Any] = []
    original = bounded.BoundedProtocol._check

    def check(self: bounded.BoundedProtocol) -> None:
        if not scripted.calls:  # its request may still be on the way
            self._watch = self.loop.call_later(0.01, self._check)
            return
        checks.append(self)
        original(self)

    monkeypatch.setattr(bounded.BoundedProtocol, "_check", check)
    async with ServedApp(scripted.app) as served, running_gateway(make_config({"a": served.url})) as gateway:
        gateway.proxy.lane.enabled = lane
        async with raw_client(gateway.url, "modern") as client:
            calling = asyncio.create_task(client.call("a_hold"))
            await eventually(lambda: scripted.calls)
            before = len(checks)
            await eventually(lambda: len(checks) > before + 12)
            assert not calling.done()
            scripted.go.set()
            answer = await calling
            assert answer.message is not None
            assert "result" in answer.message


@pytest.mark.parametrize("lane", [True, False])
async def test_who_does_not_read_is_cut_off(
    lane: bool, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(bounded, "REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(bounded, "STALL_SECONDS", 0.3)
    ended: list[Any] = []
    original = bounded.BoundedProtocol.connection_lost

    def lost(self: bounded.BoundedProtocol, exc: Exception | None) -> None:
        ended.append(self)
        original(self, exc)

    monkeypatch.setattr(bounded.BoundedProtocol, "connection_lost", lost)
    scripted = Scripted("modern")
    text = {"type": "text", "text": "x" * 2**23}
    body = {"jsonrpc": "2.0", "id": "ID", "result": {"resultType": "complete", "content": [text]}}
    scripted.answers["huge"] = (200, "application/json", json.dumps(body).replace('"ID"', "ID"))
    async with ServedApp(scripted.app) as served, running_gateway(make_config({"a": served.url})) as gateway:
        gateway.proxy.lane.enabled = lane
        async with raw_client(gateway.url, "modern") as client:
            asked, own = client.request("tools/call", {"name": "a_huge"})
            content = json.dumps({"jsonrpc": "2.0", **asked}).encode()
            lines = "".join(f"{name}: {value}\r\n" for name, value in own.items()).encode()
            _, writer = await connected(gateway)
            writer.write(HEAD + lines + b"content-length: %d\r\n\r\n" % len(content) + content)
            await eventually(lambda: scripted.calls and ended)
            monkeypatch.setattr(bounded, "REQUEST_SECONDS", 60.0)
            assert (await client.call("a_text")).status == 200
            writer.close()
