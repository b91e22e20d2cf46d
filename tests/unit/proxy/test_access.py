"""One line for each request, of both paths, with nothing secret in it."""

import asyncio
import json
import threading
from typing import Any

import pytest

from mcp_operator_proxy import access
from mcp_operator_proxy.access import AccessLog, Line, encode
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.serve import running
from support.backends import ServedApp
from support.gateway import make_config
from support.rawclient import raw_client
from support.scripted import Scripted

KEY = "0123456789abcdef"


async def test_both_paths_write_alike_and_nothing_secret() -> None:
    written: list[bytes] = []
    scripted = Scripted("modern")
    async with ServedApp(scripted.app) as served:
        config = make_config({"a": served.url}, auth={"apiKeys": [{"name": "ann", "secret": {"file": "ann"}}]})
        async with Proxy(warm_seconds=20, access=AccessLog(written.append)) as proxy:
            await proxy.apply(config, {"ann": KEY})
            async with running(proxy, "127.0.0.1", 0, grace_seconds=1) as server:
                url = f"http://127.0.0.1:{server.port}/mcp"
                headers = {"authorization": f"Bearer {KEY}", "traceparent": "00-aa-bb-01"}
                for lane in (True, False):
                    proxy.lane.enabled = lane
                    async with raw_client(url, "modern", headers=headers) as client:
                        await client.call("a_text", {"password": "hush-hush"})
                        await client.call("a_failed")
                        await client.call("nobody")
                        await client.post(b"{")
                async with raw_client(url, "modern") as client:
                    await client.call("a_text")
    lines: list[dict[str, Any]] = [json.loads(line) for data in written for line in data.splitlines()]
    assert len(lines) == 9
    kept = ("route", "http", "method", "name", "outcome", "status", "principal", "client", "trace", "message")
    seen = [tuple(line.get(key) for key in kept) for line in lines]
    assert seen[:4] == seen[4:8]
    assert seen[0] == ("/mcp", "POST", "tools/call", "a_text", "ok", 200, "ann", "127.0.0.1", "00-aa-bb-01", "request")
    assert seen[1][4] == "tool_error"
    assert (seen[2][3], seen[2][4], seen[2][5]) == ("nobody", "error", 400)
    assert [line.get("lane", False) for line in lines] == [True, True] + [False] * 7
    assert lines[8]["status"] == 401
    assert "principal" not in lines[8]
    text = b"".join(written).decode()
    assert KEY not in text
    assert "hush" not in text


async def test_the_configuration_turns_it_off() -> None:
    written: list[bytes] = []
    scripted = Scripted("modern")
    async with ServedApp(scripted.app) as served, Proxy(warm_seconds=20, access=AccessLog(written.append)) as proxy:
        await proxy.apply(make_config({"a": served.url}, accessLog=False))
        async with (
            running(proxy, "127.0.0.1", 0, grace_seconds=1) as server,
            raw_client(f"http://127.0.0.1:{server.port}/mcp", "modern") as client,
        ):
            for name in ("a_text", "nobody"):
                await client.call(name)
    assert written == []


async def test_nothing_is_lost_and_a_slow_reader_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "FLUSH_SECONDS", 0.0)
    written: list[bytes] = []
    gate = threading.Event()

    def write(data: bytes) -> None:
        gate.wait(10)
        written.append(data)

    log = AccessLog(write)
    for number in range(300):
        log.add(Line(0.0, name=str(number)))
        if number % 50 == 0:
            await asyncio.sleep(0.001)
    gate.set()
    await log.close()
    names = [json.loads(line)["name"] for data in written for line in data.splitlines()]
    assert names == [str(number) for number in range(300)]


async def test_what_is_too_much_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "MAX_PENDING", 2)
    written: list[bytes] = []
    log = AccessLog(written.append)
    for _ in range(5):
        log.add(Line(0.0))
    await log.close()
    lines = [json.loads(line) for line in b"".join(written).splitlines()]
    assert [line["message"] for line in lines] == ["request", "request", "access log lines dropped"]
    assert lines[2]["lines"] == 3


async def test_an_output_that_is_gone_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def write(_: bytes) -> None:
        raise BrokenPipeError

    log = AccessLog(write)
    log.add(Line(0.0))
    await log.close()
    assert "cannot be written" in caplog.text


def test_a_line_is_one_line_and_bounded() -> None:
    data = encode([Line(1.5, name='a"\n' + "x" * 1000, route="/mcp", status=200, seconds=0.0123456789)])
    assert data.count(b"\n") == 1
    line = json.loads(data)
    assert line["time"] == "1970-01-01T00:00:01.500000Z"
    assert len(line["name"]) == access.MAX_NAME
    assert line["seconds"] == 0.012346
