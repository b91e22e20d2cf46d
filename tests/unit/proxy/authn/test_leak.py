"""What a caller shows to the proxy reaches no server: on each way from a client to a backend, everything that a backend is
sent (headers, addresses, bodies, lines, its environment) is searched for the caller's token and key."""

import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastmcp import FastMCP
from mcp import ClientSession
from mcp.client.sse import sse_client
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from support.backends import ServedMCP
from support.gateway import Gateway, make_config, running_gateway
from support.issuer import Issuer, running_issuer
from support.rawclient import Front, raw_client

KEY = "bob-key-0123456789abc"
FRONTS: tuple[Front, ...] = ("legacy", "modern")


class Wire(ServedMCP):
    """Keeps all that it is sent."""

    def __init__(self, **options: Any) -> None:
        mcp: FastMCP[Any] = FastMCP("s")

        @mcp.tool
        def add(a: int, b: int) -> int:
            return a + b

        @mcp.prompt
        def hello() -> str:
            return "hello"

        @mcp.resource("data://one")
        def one() -> str:
            return "one"

        super().__init__(mcp, **options)
        self.seen: list[bytes] = []
        inner = self._app

        def recording() -> ASGIApp:
            app = inner()

            async def recorded(scope: Scope, receive: Receive, send: Send) -> None:
                if scope["type"] == "http":
                    self.seen += [scope["raw_path"], scope["query_string"], *(b": ".join(h) for h in scope["headers"])]

                async def heard() -> Message:
                    message = await receive()
                    self.seen.append(message.get("body", b""))
                    return message

                await app(scope, heard, send)

            return recorded

        self._app = recording


@contextlib.asynccontextmanager
async def behind(config: dict[str, Any], **urls: str) -> AsyncIterator[tuple[Gateway, Issuer]]:
    async with running_issuer() as issuer:
        auth = {"jwt": [issuer.config()], "apiKeys": [{"name": "bob", "secret": {"file": "bob"}}]}
        async with running_gateway(make_config(urls, auth=auth, **config), {"bob": KEY}) as running:
            yield running, issuer


def searched(seen: bytes, *secrets: str) -> list[str]:
    """Those that are in it, whole or as the signature of a token alone."""
    lower = seen.lower()
    found = [s for s in secrets if s.lower().encode() in lower or s.rpartition(".")[2].lower().encode() in lower]
    return found + [name for name in ("authorization", "x-api-key", "cookie") if f"{name}: ".encode() in lower]


def test_the_search_finds() -> None:
    assert searched(b"Authorization: Bearer aa.bb.cc", "aa.bb.cc", "dd") == ["aa.bb.cc", "authorization"]
    assert searched(b"token=zz.zz.CC", "aa.bb.cc") == ["aa.bb.cc"]


async def everything(url: str, front: Front, shown: dict[str, str], tool: str) -> None:
    headers = {**shown, "cookie": "session=secret-cookie"}
    async with raw_client(url, front, headers=headers) as client:
        for _ in range(4):
            answer = await client.call(tool, {"a": 1, "b": 2})
            assert answer.message is not None
            assert "result" in answer.message, answer
        for method in ("tools/list", "prompts/list", "resources/list"):
            await client.ask(method, {})
        await client.ask("prompts/get", {"name": "s_hello"})
        await client.ask("resources/read", {"uri": "data://s/one"})


@pytest.mark.parametrize(
    ("front", "back", "lane"),
    [
        *[(front, back, True) for front in FRONTS for back in ("legacy", "both")],
        ("legacy", "legacy", False),
        ("modern", "both", False),
        ("modern", "sse", False),
    ],
)
async def test_over_http_in_each_era(front: Front, back: str, lane: bool) -> None:
    wire = Wire(transport="sse") if back == "sse" else Wire(era=back)
    async with wire, behind({}, s=wire.url) as (running, issuer):
        running.proxy.lane.enabled = lane
        token = issuer.token()
        await everything(running.url, front, {"authorization": f"Bearer {token}"}, "s_add")
        await everything(running.url, front, {"x-api-key": KEY}, "s_add")
        answered = await running.metric('mcp_proxy_fast_lane_requests_total{outcome="answered"}')
        assert (answered > 0) is lane
        assert any(b"tools/call" in each for each in wire.seen)
        assert searched(b"\n".join(wire.seen), token, KEY, "secret-cookie") == []


async def test_over_the_http_sse_front() -> None:
    wire = Wire()
    async with wire, behind({}, s=wire.url) as (running, issuer):
        token = issuer.token()
        async with contextlib.AsyncExitStack() as stack:
            shown = {"authorization": f"Bearer {token}"}
            streams = await stack.enter_async_context(sse_client(f"{running.url}/sse", headers=shown))
            session = await stack.enter_async_context(ClientSession(*streams))
            await session.initialize()
            assert not (await session.call_tool("s_add", {"a": 1, "b": 2})).is_error
        assert any(b"tools/call" in each for each in wire.seen)
        assert searched(b"\n".join(wire.seen), token) == []


SERVER = """
import json, os, sys
log = open(sys.argv[1], "a", buffering=1)
log.write(json.dumps(dict(os.environ)) + "\\n" + json.dumps(sys.argv) + "\\n")
for line in sys.stdin:
    log.write(line)
    asked = json.loads(line)
    if "id" not in asked:
        continue
    method, answer = asked.get("method"), {"jsonrpc": "2.0", "id": asked["id"]}
    if method == "initialize":
        answer["result"] = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}
    elif method == "tools/list":
        answer["result"] = {"tools": [{"name": "add", "inputSchema": {"type": "object"}}]}
    elif method == "tools/call":
        answer["result"] = {"content": [{"type": "text", "text": "3"}]}
    else:
        answer["error"] = {"code": -32601, "message": "Method not found"}
    sys.stdout.write(json.dumps(answer) + "\\n")
    sys.stdout.flush()
"""


@pytest.mark.parametrize("isolation", ["shared", "session", "user"])
async def test_to_a_process(isolation: str, tmp_path: Path) -> None:
    program, log = tmp_path / "server.py", tmp_path / "log"
    program.write_text(SERVER)
    stdio = {"command": sys.executable, "args": [str(program), str(log)], "isolation": isolation}
    servers = [{"id": "ns/s", "stdio": stdio}]
    routes = [{"name": "r", "path": "/mcp", "servers": [{"server": "ns/s", "prefix": "s"}]}]
    async with behind({"servers": servers, "routes": routes}) as (running, issuer):
        token = issuer.token()
        for shown in ({"authorization": f"Bearer {token}"}, {"x-api-key": KEY}):
            async with raw_client(running.url, "legacy", headers=shown) as client:
                answer = await client.call("s_add", {"a": 1, "b": 2})
                assert answer.message is not None
                assert "result" in answer.message, answer
        assert "tools/call" in log.read_text()
        assert searched(log.read_bytes(), token, KEY) == []


async def test_nowhere_in_what_the_proxy_says_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire()
    async with wire, behind({}, s=wire.url) as (running, issuer):
        good, bad = issuer.token(), issuer.token(aud="x")
        told = ""
        for token in (good, bad):
            shown = {"authorization": f"Bearer {token}", "accept": "*/*"}
            answer = await running.http.post(running.url, json={}, headers=shown)
            told += answer.text + json.dumps(dict(answer.headers))
        told += (await running.get("/status")).text + (await running.get("/metrics")).text + repr(running.proxy.state)
        assert searched((told + caplog.text).encode(), good, bad) == []
