"""Who calls, said over TCP: a header that a key signs.

the header: believed · another key, another text, another time, another form: not · nothing of the key shows
a real bridge behind a real proxy: a process for each user, across sessions · without a user: lists, but no calls
straight to the bridge: unsigned callers list and call nothing; a forged or old signature is refused
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from mcp_operator_proxy import callers
from mcp_operator_proxy.bridge.jsonrpc import INVALID_REQUEST
from mcp_operator_proxy.bridge.server import Bridge
from mcp_operator_proxy.config import ProxyConfig
from support.backends import client
from support.gateway import Gateway, running_gateway
from unit.proxy.bridge.harness import Client, http_client, running, settings

KEY = "k" * 32
KEYS = {"alice": "alice-has-a-long-key", "bob": "bobby-has-a-long-key"}
JSON = dict[str, Any]


def test_a_signed_query_is_believed() -> None:
    assert callers.believed(KEY, callers.signed(KEY, "user=abc", 1000.5), 1000 + callers.MAX_SKEW) == "user=abc"


@pytest.mark.parametrize(
    ("value", "now", "says"),
    [
        (callers.signed("x" * 32, "user=abc", 1000), 1000, "not made with this server's key"),
        (callers.signed(KEY, "user=abc", 1000).replace("abc", "abd"), 1000, "not made with this server's key"),
        (callers.signed(KEY, "user=abc", 1000)[:-1], 1000, "not made with this server's key"),
        ("", 1000, "not made with this server's key"),
        ("é", 1000, "not made with this server's key"),
        (callers.signed(KEY, "user=abc", 1000), 1301, "more than 300 s ago"),
        (callers.signed(KEY, "user=abc", 1000), 699, "more than 300 s ago"),
        (callers.signed(KEY, "user=abc more", 1000), 1000, "another form"),
    ],
)
def test_what_is_not_believed(value: str, now: float, says: str) -> None:
    with pytest.raises(callers.NotBelieved, match=says) as refused:
        callers.believed(KEY, value, now)
    assert KEY not in str(refused.value)


@asynccontextmanager
async def bridged(**changes: Any) -> AsyncIterator[Bridge]:
    async with running(settings(isolation="user", identity_key=KEY, max_processes=8, **changes)) as bridge:
        yield bridge


@asynccontextmanager
async def behind_a_proxy(bridge: Bridge) -> AsyncIterator[Gateway]:
    config = ProxyConfig.model_validate(
        {
            "revision": "1",
            "auth": {"api_keys": [{"name": name, "secret": {"file": name}} for name in KEYS]},
            "servers": [{"id": "ns/one", "url": bridge.url, "identity": {"file": "identity"}}],
            "routes": [{"name": "r", "path": "/mcp", "servers": [{"server": "ns/one", "prefix": "one"}]}],
        }
    )
    async with running_gateway(config, {**KEYS, "identity": KEY}) as gateway:
        yield gateway


async def pid(through: Any) -> int:
    return int((await through.call_tool("one_echo", {})).structured_content["pid"])


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_each_user_has_a_process_whatever_sessions_it_has(mode: str) -> None:
    def as_(name: str) -> Any:
        return client(gateway.url, mode, auth=KEYS[name])

    async with bridged() as bridge, behind_a_proxy(bridge) as gateway:
        async with as_("alice") as alice, as_("alice") as again, as_("bob") as bob:
            assert "one_echo" in {tool.name for tool in await alice.list_tools()}
            pids = [await pid(who) for who in (alice, again, bob, alice, bob)]
            assert pids[0] == pids[1] == pids[3] != pids[2] == pids[4]
        async with as_("alice") as later:
            assert await pid(later) == pids[0]


async def test_the_proxy_without_users_lists_and_its_calls_are_refused() -> None:
    async with bridged() as bridge:
        config = ProxyConfig.model_validate(
            {
                "revision": "1",
                "servers": [{"id": "ns/one", "url": bridge.url, "identity": {"file": "identity"}}],
                "routes": [{"name": "r", "path": "/mcp", "servers": [{"server": "ns/one", "prefix": "one"}]}],
            }
        )
        async with running_gateway(config, {"identity": KEY}) as gateway, client(gateway.url) as through:
            assert "one_echo" in {tool.name for tool in await through.list_tools()}
            with pytest.raises(MCPError, match="this caller is not authenticated"):
                await pid(through)


async def test_who_does_not_sign_lists_and_calls_nothing() -> None:
    async with bridged() as bridge, http_client() as http:
        anybody = Client(bridge.url + "?user=alice", http)
        assert "result" in await anybody.initialize()
        assert (await anybody.request("tools/list"))[-1]["result"]["tools"]
        error = await anybody.error_of("echo")
        assert (error["code"], error["data"]) == (INVALID_REQUEST, {"reason": "NoUser"})


@pytest.mark.parametrize(("key", "at"), [("x" * 32, 0.0), (KEY, -1000.0)])
async def test_what_is_not_believed_opens_nothing(key: str, at: float) -> None:
    async with bridged() as bridge, http_client() as http:
        response = await _initialize(http, bridge.url, callers.signed(key, "user=alice", time.time() + at))
        assert response.status_code == 403
        assert "who calls is not believed" in response.json()["error"]["message"]
        assert "mcp-session-id" not in response.headers


async def _initialize(http: httpx2.AsyncClient, url: str, said: str) -> httpx2.Response:
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
    message: JSON = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    headers = {"accept": "application/json, text/event-stream", callers.HEADER: said}
    return await http.post(url, json=message, headers=headers)
