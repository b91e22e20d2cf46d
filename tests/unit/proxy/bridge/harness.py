"""What the bridge's tests share: a bridge that runs in the test's own loop, and a client that speaks plain HTTP."""

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from mcp_operator_proxy.bridge.server import Bridge
from mcp_operator_proxy.bridge.settings import Settings

SERVERS = Path(__file__).parent / "servers"
JSON = dict[str, Any]


def raw(*options: str) -> tuple[str, ...]:
    return (sys.executable, "-S", str(SERVERS / "raw_server.py"), *options)


def sdk() -> tuple[str, ...]:
    return (sys.executable, str(SERVERS / "sdk_server.py"))


def settings(command: tuple[str, ...] | None = None, **changes: Any) -> Settings:
    quick: JSON = {
        "backoff_first": 0.02,
        "backoff_max": 0.2,
        "stop_grace": 0.5,
        "drain_timeout": 0.5,
        "wait_timeout": 30.0,
    }
    return Settings(command=command or raw(), name="test", host="127.0.0.1", port=0, **{**quick, **changes})


def http_client() -> httpx2.AsyncClient:
    """For loopback alone: without the certificates, whose loading takes longer than most tests."""
    return httpx2.AsyncClient(timeout=20, verify=False)


@asynccontextmanager
async def running(configured: Settings) -> AsyncIterator[Bridge]:
    """A bridge that serves; stopped in order at the end."""
    bridge = Bridge(configured)
    serving = asyncio.create_task(bridge.serve())
    try:
        yield bridge
    finally:
        bridge.stop()
        await serving


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 60.0) -> None:
    """Wait for a condition of the world."""
    async with asyncio.timeout(seconds):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(0.005)


@asynccontextmanager
async def on_socket(bridge: Bridge, query: str = "") -> AsyncIterator["Client"]:
    """A client of a bridge on a unix socket, for whom `query` says; not initialized."""
    transport = httpx2.AsyncHTTPTransport(uds=bridge.settings.uds)
    async with httpx2.AsyncClient(transport=transport, timeout=20) as http:
        yield Client(f"{bridge.url}?{query}" if query else bridge.url, http)


class Client:
    """One HTTP session, message by message."""

    def __init__(self, url: str, http: httpx2.AsyncClient) -> None:
        self.url = url
        self.http = http
        self.headers = {"accept": "application/json, text/event-stream"}
        self._ids = itertools.count(1)

    async def post(self, message: JSON | list[JSON] | bytes, **headers: str) -> httpx2.Response:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        return await self.http.post(
            self.url, content=body, headers={"content-type": "application/json", **self.headers, **headers}
        )

    async def initialize(self, version: str = "2025-11-25") -> JSON:
        """The result or the error; from then on requests carry the session."""
        params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
        response = await self.post({"jsonrpc": "2.0", "id": next(self._ids), "method": "initialize", "params": params})
        if "mcp-session-id" in response.headers:
            self.headers["mcp-session-id"] = response.headers["mcp-session-id"]
            await self.notify("notifications/initialized")
        body: JSON = response.json()
        return body

    async def request(self, method: str, params: JSON | None = None, request_id: int | str | None = None) -> list[JSON]:
        """All that comes on the request's stream; the response is the last."""
        request_id = next(self._ids) if request_id is None else request_id
        response = await self.post({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params or {}})
        return messages_of(response)

    async def call(self, tool: str, token: int | str | None = None, **arguments: Any) -> JSON:
        """A tool's structured content. Fails on an error."""
        last = (await self.stream_of(tool, token, **arguments))[-1]
        assert "result" in last, last
        content: JSON = last["result"]["structuredContent"]
        return content

    async def stream_of(self, tool: str, token: int | str | None = None, **arguments: Any) -> list[JSON]:
        meta = {} if token is None else {"_meta": {"progressToken": token}}
        return await self.request("tools/call", {"name": tool, "arguments": arguments, **meta})

    async def error_of(self, tool: str, **arguments: Any) -> JSON:
        last = (await self.stream_of(tool, **arguments))[-1]
        assert "error" in last, last
        error: JSON = last["error"]
        return error

    async def notify(self, method: str, params: JSON | None = None) -> None:
        response = await self.post({"jsonrpc": "2.0", "method": method, "params": params or {}})
        assert response.status_code == 202, response.text

    async def heard(self, method: str) -> list[JSON]:
        """The params of the messages with this method that the server has received."""
        messages = (await self.call("heard"))["received"]
        return [m.get("params", {}) for m in messages if m.get("method") == method]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[AsyncIterator[JSON]]:
        """The messages of the session's own stream, which is open when this is entered."""
        headers = {**self.headers, "accept": "text/event-stream"}
        async with self.http.stream("GET", self.url, headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            lines = response.aiter_lines()
            assert (await anext(lines)).startswith(":")
            yield _messages(lines)

    async def delete(self) -> httpx2.Response:
        return await self.http.delete(self.url, headers=self.headers)


async def _messages(lines: AsyncIterator[str]) -> AsyncIterator[JSON]:
    async for line in lines:
        if line.startswith("data:"):
            yield json.loads(line[5:])


def messages_of(response: httpx2.Response) -> list[JSON]:
    if response.headers["content-type"].startswith("text/event-stream"):
        return [json.loads(line[5:]) for line in response.text.splitlines() if line.startswith("data:")]
    return [response.json()]
