"""The proxy inside applications of others: a sub-path, CORS, API keys, the lifespan."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastmcp.client.auth import BearerAuth
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from mcp_operator_proxy import ConfigError, NotRunning, ToolProxy
from support.backends import ServedApp, ServedMCP, client
from unit.library.servers import clock

KEY = "a-key-of-20-characters"
ORIGIN = "https://app.example"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
JSON = {"accept": "application/json, text/event-stream"}


def proxy_of(served: ServedMCP, **options: Any) -> ToolProxy:
    return ToolProxy.from_config({"servers": {"time": {"url": served.url}}}, warm_seconds=20, **options)


@contextlib.asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[tuple[str, httpx2.AsyncClient]]:
    async with ServedApp(lambda: app, "") as served, httpx2.AsyncClient() as http:
        yield served.url, http


async def test_in_a_fastapi_application() -> None:
    life: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, int]]:
        life.append("begun")
        yield {"answer": 42}
        life.append("ended")

    async with clock() as backend:
        app = FastAPI(lifespan=lifespan)

        @app.get("/hello")
        async def hello() -> dict[str, str]:
            return {"hello": "world"}

        proxy = proxy_of(backend)
        proxy.mount(app, "/tools", cors_origins=[ORIGIN], api_key=KEY)
        async with serving(app) as (base, http):
            assert life == ["begun"]
            assert (await http.get(f"{base}/hello")).json() == {"hello": "world"}
            url = f"{base}/tools/mcp"
            for mode in ("legacy", "auto"):
                async with client(url, mode, auth=BearerAuth(KEY)) as remote:
                    assert "proxy.time.get_current_time" in {tool.name for tool in await remote.list_tools()}
                    result = await remote.call_tool("proxy.time.get_current_time", {})
                    assert result.structured_content == {"timezone": "UTC", "time": "12:00"}
            async with client(f"{base}/tools/mcp/sse", auth=BearerAuth(KEY)) as legacy:
                assert (await legacy.call_tool("proxy.time.get_current_time", {})).structured_content
            for headers in ({}, {"x-api-key": "another-key-of-20-chars"}):
                answer = await http.post(url, json=INITIALIZE, headers={**JSON, **headers})
                assert answer.status_code == 401
                assert "Bearer" in answer.headers["www-authenticate"]
            assert (await http.get(f"{base}/tools/status")).status_code == 401
            assert (await http.get(f"{base}/tools/healthz")).status_code == 200
            assert (await http.get(f"{base}/tools/status", headers={"x-api-key": KEY})).json()["servers"]
        assert life == ["begun", "ended"]
        with pytest.raises(NotRunning):
            await proxy.list_tools()


async def test_browsers_of_listed_origins_alone() -> None:
    async with clock() as backend:
        app = Starlette()
        proxy_of(backend).mount(app, "/tools", cors_origins=[ORIGIN, "https://*.trusted.example"])
        async with serving(app) as (base, http):
            url = f"{base}/tools/mcp"
            for origin in (ORIGIN, "https://a.trusted.example"):
                preflight = {"origin": origin, "access-control-request-method": "POST"}
                asked = await http.options(
                    url, headers={**preflight, "access-control-request-headers": "mcp-session-id"}
                )
                assert asked.status_code == 200
                assert asked.headers["access-control-allow-origin"] == origin
                answer = await http.post(url, json=INITIALIZE, headers={**JSON, "origin": origin})
                assert answer.status_code == 200
                assert answer.headers["access-control-allow-origin"] == origin
                assert "mcp-session-id" in answer.headers["access-control-expose-headers"]
            for origin in ("https://evil.example", "https://a.trusted.example.evil.example"):
                answer = await http.post(url, json=INITIALIZE, headers={**JSON, "origin": origin})
                assert answer.status_code == 403
                assert "access-control-allow-origin" not in answer.headers


async def test_as_an_application_of_its_own_and_in_a_list_of_routes() -> None:
    async with clock() as backend:
        proxy = proxy_of(backend)
        async with serving(proxy.app()) as (base, _), client(f"{base}/mcp") as remote:
            assert len(await remote.list_tools()) == 4

        async def hello(_: Any) -> PlainTextResponse:
            return PlainTextResponse("hello")

        async with proxy_of(backend, path="/") as running:
            routes = [Route("/hello", hello), Mount("/deep/down", running.app())]
            async with serving(Starlette(routes=routes)) as (base, http):
                async with client(f"{base}/deep/down/") as remote:
                    assert len(await remote.list_tools()) == 4
                assert (await http.get(f"{base}/hello")).text == "hello"


async def test_several_keys_are_several_callers() -> None:
    keys = {"ann": "ann-key-0123456789", "bob": "bob-key-0123456789"}
    async with clock() as backend, proxy_of(backend, api_key=keys) as proxy, serving(proxy.app()) as (base, http):
        url = f"{base}/mcp"
        ann = {**JSON, "x-api-key": keys["ann"]}
        opened = await http.post(url, json=INITIALIZE, headers=ann)
        session = {"mcp-session-id": opened.headers["mcp-session-id"]}
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        assert (await http.post(url, json=ping, headers={**ann, **session})).status_code == 200
        stolen = {**JSON, **session, "x-api-key": keys["bob"]}
        assert (await http.post(url, json=ping, headers=stolen)).status_code == 404
        assert (await http.post(url, json=ping, headers={**JSON, **session})).status_code == 401


def test_a_bad_key_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError) as refused:
        ToolProxy().app(api_key="hunter2")
    assert "hunter2" not in str(refused.value)
