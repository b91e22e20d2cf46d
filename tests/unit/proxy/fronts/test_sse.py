# ruff: noqa: SIM117 - nested, in the order in which they start
"""HTTP+SSE at the front: the same endpoint, for clients of 2024-11-05."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastmcp import Context, FastMCP
from mcp import ClientSession
from mcp.client.session import ClientRequestContext, IncomingMessage
from mcp.client.sse import sse_client
from mcp_types import ElicitRequestParams, ElicitResult, TextContent

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.fronts.sse import locate
from support.backends import ServedMCP, eventually
from support.gateway import Gateway, make_config, running_gateway
from support.waitingserver import WaitingServer

ALICE, BOB = "alice-key-0123456789", "bob-key-0123456789abc"
KEYS = {
    "auth": {"apiKeys": [{"name": n, "secret": {"file": n}} for n in ("alice", "bob")]},
}


def server() -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("b")

    @mcp.tool
    def add(a: int, b: int) -> int:
        return a + b

    @mcp.tool
    async def ask(ctx: Context) -> str:
        await ctx.report_progress(1, 2, "asking")
        answer = await ctx.elicit("what?", response_type=str)
        return f"{answer.action}: {getattr(answer, 'data', None)}"

    return mcp


class Heard:
    """Notifications that a session heard."""

    def __init__(self) -> None:
        self.methods: list[str] = []

    async def __call__(self, message: IncomingMessage) -> None:
        self.methods.append(str(getattr(message, "method", type(message).__name__)))


async def elicited(_: ClientRequestContext, __: ElicitRequestParams) -> ElicitResult:
    return ElicitResult(action="accept", content={"value": "that"})


@contextlib.asynccontextmanager
async def session(url: str, key: str | None = None, heard: Heard | None = None) -> AsyncIterator[ClientSession]:
    headers = {"x-api-key": key} if key else {}
    async with (
        sse_client(url, headers=headers) as streams,
        ClientSession(*streams, elicitation_callback=elicited, message_handler=heard) as connected,
    ):
        await connected.initialize()
        yield connected


@contextlib.asynccontextmanager
async def stream_of(gateway: Gateway, key: str = "") -> AsyncIterator[tuple[str, AsyncIterator[str]]]:
    """Where the client of an open stream would post, and the further lines of the stream."""
    async with gateway.http.stream("GET", f"{gateway.url}/sse", headers={"x-api-key": key}) as response:
        lines = response.aiter_lines()
        assert await anext(lines) == "event: endpoint"
        yield (await anext(lines)).removeprefix("data: "), lines


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/mcp/sse", ("/mcp", "sse")),
        ("/mcp/messages", ("/mcp", "messages")),
        ("/sse", ("/", "sse")),
        ("/messages", ("/", "messages")),
        ("/other/sse", None),
        ("/mcp/other", None),
        ("/mcp/sse/sse", None),
    ],
)
def test_paths(path: str, expected: Any) -> None:
    assert locate(path, {"/mcp": 1, "/": 1}) == expected


async def test_a_route_at_that_path_comes_first() -> None:
    routes = [
        {"name": "McpRoute/ns/a", "path": "/mcp", "servers": []},
        {"name": "McpRoute/ns/b", "path": "/mcp/sse", "servers": []},
    ]
    async with running_gateway(make_config({}, routes=routes)) as gateway:
        answer = await gateway.get("/mcp/sse", headers={"accept": "text/event-stream"})
        assert answer.headers.get("content-type", "").startswith("application/json")


async def test_calls_progress_and_questions_of_the_server() -> None:
    progress: list[float] = []

    async def on_progress(value: float, _: float | None, __: str | None) -> None:
        progress.append(value)

    async with ServedMCP(server(), era="legacy") as served, running_gateway(make_config({"b": served.url})) as gateway:
        async with session(f"{gateway.url}/sse") as client:
            assert sorted(tool.name for tool in (await client.list_tools()).tools) == ["b_add", "b_ask"]
            results = await asyncio.gather(*(client.call_tool("b_add", {"a": n, "b": 1}) for n in range(10)))
            assert [r.structured_content for r in results] == [{"result": n + 1} for n in range(10)]
            result = await client.call_tool("b_ask", {}, progress_callback=on_progress)
            assert result.content == [TextContent(type="text", text="accept: that")]
            assert progress == [1]
            assert gateway.proxy.status().sessions == 1
        await eventually(lambda: gateway.proxy.status().sessions == 0)
        assert not gateway.proxy.endpoints["/mcp"].channels
        assert served.methods.count("tools/call") == 11


async def test_a_swap_is_told_and_the_session_stays() -> None:
    heard = Heard()
    async with ServedMCP(server()) as served, running_gateway(make_config({"b": served.url})) as gateway:
        async with session(f"{gateway.url}/sse", heard=heard) as client:
            await gateway.proxy.apply(make_config({"b": served.url, "c": served.url}))
            await eventually(lambda: "notifications/tools/list_changed" in heard.methods)
            assert len((await client.list_tools()).tools) == 4
            assert (await client.call_tool("c_add", {"a": 1, "b": 1})).structured_content == {"result": 2}


async def test_a_session_is_its_owners_alone() -> None:
    async with ServedMCP(server()) as served:
        config = make_config({"b": served.url}, **KEYS)
        async with running_gateway(config, {"alice": ALICE, "bob": BOB}) as gateway:
            assert (await gateway.get("/mcp/sse")).status_code == 401
            async with session(f"{gateway.url}/sse", ALICE) as client:
                assert (await client.call_tool("b_add", {"a": 1, "b": 1})).structured_content == {"result": 2}
            message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
            async with stream_of(gateway, ALICE) as (where, _):
                for key, status in ((ALICE, 202), (BOB, 404), ("unknown-key-0123456789", 401)):
                    answer = await gateway.http.post(gateway.base + where, json=message, headers={"x-api-key": key})
                    assert answer.status_code == status


async def test_what_is_refused() -> None:
    ping, evil = {"jsonrpc": "2.0", "id": 1, "method": "ping"}, {"origin": "http://evil.example"}
    async with running_gateway(make_config({}, sessions={"maxSessions": 1})) as gateway:
        channels, http = gateway.proxy.endpoints["/mcp"].channels, gateway.http
        async with stream_of(gateway) as (where, _):
            posted = f"{gateway.base}{where}"
            assert (await http.post(posted, content=b"{", headers=JSON)).status_code == 400
            assert (await http.post(posted, content=b"{}", headers={"content-type": "text/plain"})).status_code == 415
            assert (await http.post(posted, content=b" " * 5_000_000, headers=JSON)).status_code == 413
            assert (await http.get(posted)).status_code == 405
            assert (await http.post(f"{gateway.url}/sse", json=ping)).status_code == 405
            assert (await http.post(f"{gateway.url}/messages", json=ping)).status_code == 400
            assert (await http.post(f"{gateway.url}/messages?session_id=sse-1", json=ping)).status_code == 404
            assert (await http.post(posted, json=ping, headers=evil)).status_code == 403
            assert (await gateway.get("/mcp/sse", headers=evil)).status_code == 403
            assert (await gateway.get("/mcp/sse")).status_code == 503
        await eventually(lambda: not channels)
        assert (await http.post(posted, json=ping)).status_code == 404


JSON = {"content-type": "application/json"}


async def test_an_orderly_end_waits_for_the_call_in_flight() -> None:
    server = WaitingServer()
    async with ServedMCP(server.mcp) as served, running_gateway(make_config({"b": served.url})) as gateway:
        async with session(f"{gateway.url}/sse") as busy, session(f"{gateway.url}/sse"):
            channels = gateway.proxy.endpoints["/mcp"].channels
            await busy.list_tools()
            call = asyncio.create_task(busy.call_tool("b_wait", {}))
            await server.begun.wait()
            await gateway.proxy.drain()
            await eventually(lambda: len(channels) == 1)  # the idle one has ended, the busy one not
            assert (await gateway.get("/mcp/sse")).status_code == 503
            server.end.set()
            assert (await call).structured_content == {"result": "done"}
            await eventually(lambda: len(channels) == 0)


async def test_a_removed_route_ends_its_streams() -> None:
    async with running_gateway(make_config({})) as gateway, stream_of(gateway) as (where, lines):
        await gateway.proxy.apply(ProxyConfig(revision="none"))
        assert [line async for line in lines if line] == []
        answer = await gateway.http.post(gateway.base + where, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
        assert answer.status_code == 404
