"""The HTTP surface: the proxy's own paths, and every way that a request can be wrong."""

import asyncio
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mcp_operator_proxy.config import ProxyConfig
from support.gateway import Gateway, running_gateway

HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
MODERN = {**HEADERS, "mcp-protocol-version": "2026-07-28"}
MODERN_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "page", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def config(revision: str, *paths: str, **more: Any) -> ProxyConfig:
    routes = [{"name": f"McpRoute/ns/r{i}", "path": path} for i, path in enumerate(paths)]
    return ProxyConfig.model_validate({"revision": revision, "routes": routes, **more})


def rpc_error(response: httpx2.Response) -> Any:
    body = response.json()
    assert body["jsonrpc"] == "2.0"
    return body["error"]


async def test_before_the_first_config() -> None:
    async with running_gateway() as running:
        assert (await running.get("/healthz")).status_code == 200
        ready = await running.get("/readyz")
        assert (ready.status_code, ready.text) == (503, "no configuration yet\n")
        answer = await running.http.post(running.url, headers=HEADERS, json={})
        assert answer.status_code == 503
        assert rpc_error(answer)["message"] == "no configuration yet"
        running.proxy.reject("r1", "servers[0].url: required")
        assert "servers[0].url: required" in (await running.get("/readyz")).text
        status = (await running.get("/status")).json()
        assert (status["revision"], status["rejected"]["revision"]) == (None, "r1")


async def test_own_paths() -> None:
    async with running_gateway(config("r1", "/mcp", "/a/b")) as running:
        assert (await running.get("/readyz")).text == "ok\n"
        assert (await running.get("/")).json()["mcp"] == ["/a/b", "/mcp"]
        missing = await running.get("/nowhere")
        assert missing.status_code == 404
        assert missing.json() == {"error": "no MCP endpoint at /nowhere", "mcp": ["/a/b", "/mcp"]}
        assert (await running.http.post(running.base + "/status")).status_code == 405
        assert (await running.http.head(running.base + "/healthz")).status_code == 200


async def test_a_route_may_be_at_the_root() -> None:
    async with running_gateway(config("r1", "/")) as running:
        answer = await running.http.post(running.base + "/", headers=HEADERS, content=b"{")
        assert rpc_error(answer)["code"] == -32700


async def test_pages_of_allowed_origins_may_read_what_is_answered() -> None:
    """By every way that an answer takes: refused by a key, by FastMCP, by the lane's methods."""
    page = {"origin": "https://app.example"}
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "mcp-method,x-api-key"}
    ping = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": MODERN_META}}
    modern = {**MODERN, "mcp-method": "tools/list"}
    async with running_gateway(config("r1", "/mcp", allowedOrigins=["https://app.example"])) as running:
        preflight = await running.http.options(running.url, headers={**page, **asked})
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"
        assert preflight.headers["access-control-allow-methods"] == "GET, POST, DELETE"
        assert preflight.headers["access-control-allow-headers"] == "mcp-method,x-api-key"
        for headers, status in ((modern, 200), ({**modern, "accept": "text/html"}, 406)):
            answer = await running.http.post(running.url, headers={**headers, **page}, json=ping)
            assert answer.status_code == status, answer.text
            assert answer.headers["access-control-allow-origin"] == "https://app.example"
            assert "mcp-session-id" in answer.headers["access-control-expose-headers"]
            assert answer.headers["vary"] == "origin"
        assert "vary" not in (await running.http.post(running.url, headers=modern, json=ping)).headers
        strange = await running.http.options(running.url, headers={"origin": "https://evil.example", **asked})
        assert strange.status_code == 403
        assert "access-control-allow-origin" not in strange.headers


async def test_bad_status_parameters() -> None:
    async with running_gateway(config("r1", "/mcp")) as running:
        for query in (
            "wait=r1&timeout=x",
            "wait=r1&timeout=-1",
            "wait=r1&timeout=31",
            "wait=R!",
            "wait=",
            "wait=r1&timeout=nan",
        ):
            answer = await running.get(f"/status?{query}")
            assert answer.status_code == 400, query
            assert answer.json()["error"]


async def test_status_waits_for_a_revision() -> None:
    async with running_gateway(config("r1", "/mcp")) as running:
        assert (await running.get("/status?wait=r1")).json()["revision"] == "r1"
        assert (await running.get("/status?wait=zz&timeout=0.01")).json()["revision"] == "r1"
        waiting = asyncio.create_task(running.get("/status?wait=r2&timeout=30"))
        refused = asyncio.create_task(running.get("/status?wait=r3&timeout=30"))
        await asyncio.sleep(0)
        await running.proxy.apply(config("r2", "/mcp"))
        assert (await waiting).json()["revision"] == "r2"
        assert not refused.done()
        running.proxy.reject("r3", "no good")
        status = (await refused).json()
        assert (status["revision"], status["rejected"]["message"]) == ("r2", "no good")
        await running.proxy.apply(config("r4", "/mcp"))
        assert (await running.get("/status")).json()["rejected"] is None


async def test_metrics() -> None:
    async with running_gateway(config("r1", "/mcp")) as running:
        await running.http.post(running.url, headers=HEADERS, content=b"{")
        for _ in range(2):
            await _call(running, "tools/list", {})
        await _call(running, "made/up", {})
        answer = await running.get("/metrics")
        samples = {
            (s.name, tuple(sorted(s.labels.items()))): s.value
            for family in text_string_to_metric_families(answer.text)
            for s in family.samples
        }

        def requests(method: str, status: str) -> float:
            labels = (("method", method), ("route", "/mcp"), ("status", status))
            return samples.get(("mcp_proxy_requests_total", labels), 0)

        assert requests("tools/list", "ok") == 2
        assert requests("other", "error") == 1
        assert requests("none", "refused") == 1
        assert samples["mcp_proxy_swaps_total", ()] == 1
        assert samples["mcp_proxy_config_info", (("revision", "r1"),)] == 1
        await running.proxy.apply(config("r2", "/other"))
        assert 'route="/mcp"' not in (await running.get("/metrics")).text


def _meta() -> dict[str, Any]:
    return {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }


async def _call(running: Gateway, method: str, params: dict[str, Any]) -> httpx2.Response:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": _meta()}}
    return await running.http.post(running.url, headers={**MODERN, "mcp-method": method}, json=body)


WRONG: list[tuple[dict[str, str], bytes, int, int]] = [
    ({}, b"{", 400, -32700),
    ({}, b"\xff\xfe", 400, -32700),
    ({}, b"[]", 400, -32600),
    ({}, b"[" * 50_000, 400, -32600),
    ({}, b"", 400, -32700),
    ({"content-type": "text/plain"}, b"{}", 415, -32600),
    ({"content-type": ""}, b"{}", 415, -32600),
    ({"accept": "text/html"}, b"{}", 406, -32600),
    ({"accept": "application/json"}, b"{}", 406, -32600),
    ({"origin": "https://evil.example"}, b"{}", 403, -32600),
    ({}, b"x" * (4 * 1024 * 1024 + 1), 413, -32600),
]


@pytest.mark.parametrize("headers", [HEADERS, MODERN], ids=["legacy", "modern"])
async def test_wrong_requests(headers: dict[str, str]) -> None:
    async with running_gateway(config("r1", "/mcp")) as running:
        for change, content, status, code in WRONG:
            answer = await running.http.post(running.url, headers={**headers, **change}, content=content)
            assert answer.status_code == status, (change, content[:20])
            # The handshake era calls a batch invalid params, the modern one an invalid request.
            expected = {code, -32602} if content == b"[]" else {code}
            assert rpc_error(answer)["code"] in expected, (change, content[:20])
        assert (await running.get("/readyz")).status_code == 200


async def test_a_large_body_of_unknown_length() -> None:
    async def chunks() -> Any:
        for _ in range(5):
            yield b"x" * 1024 * 1024

    async with running_gateway(config("r1", "/mcp")) as running:
        answer = await running.http.post(running.url, headers=HEADERS, content=chunks())
        assert answer.status_code == 413
        assert rpc_error(answer)["code"] == -32600


async def test_other_http_methods() -> None:
    async with running_gateway(config("r1", "/mcp")) as running:
        for method in ("PUT", "PATCH", "OPTIONS"):
            answer = await running.http.request(method, running.url)
            assert answer.status_code == 405
            assert rpc_error(answer)["code"] == -32600


async def test_unknown_session() -> None:
    async with running_gateway(config("r1", "/mcp")) as running:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        answer = await running.http.post(running.url, headers={**HEADERS, "mcp-session-id": "nope"}, json=body)
        assert answer.status_code == 404


async def test_allowed_hosts() -> None:
    async with running_gateway(config("r1", "/mcp", allowedHosts=["tools.example.com"])) as running:
        assert (await running.http.post(running.url, headers=HEADERS, content=b"{}")).status_code == 421
        assert (await running.get("/readyz")).status_code == 200
        headers = {**HEADERS, "host": "tools.example.com"}
        assert (await running.http.post(running.url, headers=headers, content=b"{")).status_code == 400
