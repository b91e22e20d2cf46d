"""Streamable HTTP at the edge: what a client may send wrongly, and what it is told.

Cases: no session · unknown session · not JSON · batch · no object · content type · accept · method · body limit · origin ·
protocol versions of both eras · notifications and responses · bad initialize · session limit · paths.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from mcp_operator_proxy.bridge.server import Bridge
from mcp_operator_proxy.bridge.versions import HANDSHAKE_VERSIONS
from unit.proxy.bridge.harness import JSON, Client, http_client, running, settings, until

PING: JSON = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge() -> AsyncIterator[Bridge]:
    async with running(
        settings(max_body=10_000, max_sessions=200, allowed_origins=("https://good.example",))
    ) as bridge:
        yield bridge


@pytest_asyncio.fixture(loop_scope="module")
async def client(bridge: Bridge) -> AsyncIterator[Client]:
    async with http_client() as http:
        client = Client(bridge.url, http)
        assert "result" in await client.initialize()
        yield client


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "says"),
    [
        (PING, {"mcp-session-id": "nobody"}, 404, -32600, "session not found"),
        (b'{"jsonrpc": ', {}, 400, -32700, "the body is not JSON"),
        (b"\xff\xfe\x00", {}, 400, -32700, "the body is invalid UTF-8"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": NaN}}', {}, 400, -32700, "not JSON"),
        (b"[" * 100_000, {}, 413, -32600, "over the limit of 10000 bytes"),
        (b"[" * 9_000, {}, 400, -32700, "the body is not JSON"),
        ([PING], {}, 400, -32600, "a JSON-RPC batch"),
        (b'"ping"', {}, 400, -32600, "not a JSON-RPC 2.0 object"),
        ({"id": 1, "method": "ping"}, {}, 400, -32600, "not a JSON-RPC 2.0 object"),
        ({**PING, "id": None}, {}, 400, -32600, "a request's id is a string or an integer"),
        ({**PING, "id": 1.5}, {}, 400, -32600, "a request's id is a string or an integer"),
        ({**PING, "method": 3}, {}, 400, -32600, "method is no string"),
        ({**PING, "params": [1]}, {}, 400, -32600, "params is no object"),
        ({"jsonrpc": "2.0", "id": 1}, {}, 400, -32600, "one of result and error"),
        (PING, {"content-type": "text/plain"}, 415, -32600, "application/json"),
        (PING, {"accept": "text/html"}, 406, -32600, "has to accept"),
        (PING, {"origin": "https://evil.example"}, 403, -32600, "Origin"),
        (PING, {"origin": "null"}, 403, -32600, "Origin"),
        (PING, {"mcp-protocol-version": "1999-01-01"}, 400, -32022, "Unsupported protocol version"),
        ({**PING, "method": "initialize"}, {}, 400, -32602, "initialize needs a protocolVersion"),
    ],
)
async def test_what_is_wrong_is_told(  # noqa: PLR0917
    client: Client, body: Any, headers: dict[str, str], status: int, code: int, says: str
) -> None:
    response = await client.post(body, **headers)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert (error["code"], says in error["message"]) == (code, True), error


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json; charset=utf-8"},
        {"accept": "*/*"},
        {"accept": "application/*;q=0.9, text/*"},
        {"origin": "https://good.example"},
        {"origin": "http://localhost:6274"},
        *({"mcp-protocol-version": version} for version in HANDSHAKE_VERSIONS),
    ],
)
async def test_what_is_right_is_answered(client: Client, headers: dict[str, str]) -> None:
    response = await client.post(PING, **headers)
    assert (response.status_code, response.json()) == (200, {"jsonrpc": "2.0", "id": 1, "result": {}})


async def test_without_a_session_nothing_but_initialize_is_served(bridge: Bridge) -> None:
    async with http_client() as http:
        response = await Client(bridge.url, http).post(PING)
    assert response.status_code == 400
    assert "open a session first" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "headers", [{}, {"mcp-protocol-version": "2026-07-28", "mcp-method": "server/discover"}], ids=["bare", "headers"]
)
async def test_a_client_of_the_modern_era_is_told_the_versions_that_are_served(
    bridge: Bridge, headers: dict[str, str]
) -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    body = {"jsonrpc": "2.0", "id": 3, "method": "server/discover", "params": {"_meta": meta}}
    async with http_client() as http:
        response = await Client(bridge.url, http).post(body, **headers)
    assert response.status_code == 400
    assert response.json()["id"] == 3
    error = response.json()["error"]
    assert error["code"] == -32022
    assert error["data"] == {
        "supported": list(HANDSHAKE_VERSIONS),
        "requested": "2026-07-28",
    }


async def test_a_stray_protocol_header_does_not_spoil_initialize(client: Client) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}}
    response = await client.post(body, **{"mcp-protocol-version": "2026-07-28"})
    assert response.json()["result"]["protocolVersion"] == "2025-11-25"


async def test_notifications_and_responses_are_accepted(client: Client) -> None:
    for message in ({"method": "notifications/roots/list_changed"}, {"id": 77, "result": {}}):
        response = await client.post({"jsonrpc": "2.0", **message})
        assert (response.status_code, response.content) == (202, b"")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS"])
async def test_other_methods_are_not_allowed(client: Client, method: str) -> None:
    response = await client.http.request(method, client.url, headers=client.headers)
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST, DELETE")


async def test_a_body_without_a_declared_length_is_limited_too(client: Client) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 1000

    headers = {**client.headers, "content-type": "application/json"}
    response = await client.http.post(client.url, content=pieces(), headers=headers)
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"accept": "application/json"}, 406), ({"mcp-session-id": "x"}, 404), ({"origin": "http://evil"}, 403)],
)
async def test_a_stream_that_cannot_be_opened(client: Client, headers: dict[str, str], status: int) -> None:
    response = await client.http.get(client.url, headers={**client.headers, "accept": "text/event-stream", **headers})
    assert response.status_code == status


async def test_the_limit_holds_for_shared_sessions_too() -> None:
    async with running(settings(max_sessions=1)) as bridge, http_client() as http:
        assert "result" in await Client(bridge.url, http).initialize()
        assert "limit of 1 sessions" in (await Client(bridge.url, http).initialize())["error"]["message"]


async def test_a_silent_call_becomes_a_stream_that_is_kept_alive() -> None:
    async with running(settings(keep_alive=0.05)) as bridge, http_client() as http:
        client = Client(bridge.url, http)
        await client.initialize()
        body = {
            "jsonrpc": "2.0",
            "id": 8,
            "method": "tools/call",
            "params": {"name": "hold", "arguments": {"key": "k"}},
        }
        headers = {**client.headers, "content-type": "application/json"}
        async with http.stream("POST", client.url, content=json.dumps(body), headers=headers) as response:
            lines = [line async for line in _until_second_comment(response, client)]
    assert lines[0] == ": open"
    assert json.loads(next(line for line in lines if line.startswith("data:"))[5:])["id"] == 8


async def _until_second_comment(response: httpx2.Response, client: Client) -> AsyncIterator[str]:
    released = False
    async for line in response.aiter_lines():
        yield line
        if line == ": still here" and not released:
            released = True
            await client.call("release", key="k")


async def test_paths_of_health_and_unknown_ones(bridge: Bridge) -> None:
    base = bridge.url.removesuffix("/mcp")
    await until(lambda: bridge.hub.health().ready)
    async with http_client() as http:
        statuses = {
            path: (await http.get(base + path)).status_code for path in ("/healthz", "/readyz", "/status", "/x")
        }
        status = (await http.get(base + "/status")).json()
    assert statuses == {"/healthz": 200, "/readyz": 200, "/status": 200, "/x": 404}
    assert (status["name"], status["isolation"], status["server"]["state"]) == ("test", "shared", "ready")
    assert "raw_server" not in json.dumps(status), "no argument of the command is shown"
