"""A probe of real servers: what it finds, in either era, over each transport, with headers and TLS.

| server | era | transport | beside |
| --- | --- | --- | --- |
| FastMCP | 2026-07-28 | streamable HTTP | counts, digest, pages |
| FastMCP that refuses the newest era | handshake | streamable HTTP | counts |
| FastMCP | either | HTTP+SSE, forced and found out | |
| scripted | handshake | streamable HTTP | headers, pages, no tools, what is optional, the end of the session |
"""

import asyncio
import time
from typing import Any

import pytest

from mcp_operator.probe.mcp import probe
from mcp_operator.probe.target import Target
from support.backends import ServedMCP
from support.tls import Certificate
from unit.probe.servers import INITIALIZED, Reply, Scripted, http, mcp_server, raw, served, tool


def a_bit_of_everything() -> Any:
    server = mcp_server(3)
    server.resource("weather://now", name="now")(lambda: "fair")
    server.resource("weather://{day}", name="day")(lambda day: f"fair on {day}")
    server.resource("climate://{year}", name="year")(lambda year: f"warm in {year}")
    server.prompt(lambda: "Tell the weather", name="forecast")
    return server


async def test_a_modern_server() -> None:
    async with ServedMCP(a_bit_of_everything()) as server:
        first, second = [await probe(Target(url=server.url, timeout=60)) for _ in range(2)]

    assert first.error is None
    assert first.facts is not None
    assert (first.facts.server_name, first.facts.server_version) == ("weather", "1.2.3")
    assert (first.facts.protocol_version, first.facts.transport) == ("2026-07-28", "streamable-http")
    assert first.facts.tools == ("measure_0", "measure_1", "measure_2")
    assert (first.facts.prompts, first.facts.resources, first.facts.resource_templates) == (1, 1, 2)
    assert 0 < first.seconds < 60
    assert second.facts == first.facts
    assert second.time > first.time


async def test_the_digest_follows_the_definitions() -> None:
    """Another process of the same server has the same digest; one more tool has another."""
    found = []
    for tools in (2, 2, 3):
        async with ServedMCP(mcp_server(tools)) as server:
            found.append((await probe(Target(url=server.url))).facts)
    same, again, other = (facts.digest for facts in found if facts)
    assert same == again != other
    assert same.startswith("sha256:")


async def test_a_server_of_the_handshake_era() -> None:
    async with ServedMCP(a_bit_of_everything(), era="legacy") as server:
        result = await probe(Target(url=server.url))

    assert result.facts is not None, result.error
    assert (result.facts.protocol_version, result.facts.transport) == ("2025-11-25", "streamable-http")
    assert (result.facts.tools, result.facts.resource_templates) == (("measure_0", "measure_1", "measure_2"), 2)
    assert {"initialize", "notifications/initialized", "tools/list"} <= set(server.methods)


async def test_pages_of_a_real_server() -> None:
    async with ServedMCP(mcp_server(7, page_size=3)) as server:
        result = await probe(Target(url=server.url))
    assert result.facts is not None, result.error
    assert len(result.facts.tools) == 7
    assert server.methods.count("tools/list") == 3


@pytest.mark.parametrize("transport", ["auto", "sse"])
async def test_a_server_over_sse(transport: Any) -> None:
    async with ServedMCP(mcp_server(), transport="sse") as server:
        result = await probe(Target(url=server.url, transport=transport))
    assert result.facts is not None, result.error
    assert result.facts.transport == "sse"
    assert result.facts.tools == ("measure_0", "measure_1")


async def test_a_forced_transport_is_not_left() -> None:
    async with ServedMCP(mcp_server(), transport="sse") as server:
        result = await probe(Target(url=server.url, transport="streamable-http"))
    assert result.error is not None
    assert result.error.error_class == "HTTPError"


async def test_all_pages_are_listed() -> None:
    pages = {None: ("c", "2"), "2": ("a", "3"), "3": ("b", None)}

    def page(params: dict[str, Any]) -> dict[str, Any]:
        name, following = pages[params.get("cursor")]
        return {"tools": [tool(name)]} | ({"nextCursor": following} if following else {})

    async with raw(Scripted({"tools/list": page})) as url:
        result = await probe(Target(url=url))
    assert result.facts is not None, result.error
    assert result.facts.tools == ("a", "b", "c")


async def test_only_what_the_server_has_is_listed() -> None:
    server = Scripted(
        {"initialize": INITIALIZED | {"capabilities": {"resources": {}}}, "resources/list": {"resources": []}}
    )
    async with raw(server) as url:
        result = await probe(Target(url=url))
    assert result.facts is not None, result.error
    assert (result.facts.tools, result.facts.resources, result.facts.resource_templates) == ((), 0, 0)
    assert "resources/templates/list" in server.methods, "it was asked, and answered Method not found"
    assert not {"tools/list", "prompts/list"} & set(server.methods)


async def test_every_request_carries_the_headers() -> None:
    server = Scripted()
    async with raw(server) as url:
        result = await probe(Target(url=url, headers={"Authorization": "Bearer s3cret", "X-Team": "core"}))
    assert result.ok
    assert {"initialize", "tools/list", "DELETE"} <= set(server.methods)
    assert all(
        headers["authorization"] == "Bearer s3cret" and headers["x-team"] == "core" for headers in server.headers
    )


async def test_a_redirect_within_the_server_is_followed() -> None:
    app = mcp_server().http_app(path="/mcp/")
    async with served(app) as url:
        result = await probe(Target(url=f"{url}/mcp"))
    assert result.ok, result.error


async def test_a_certificate_that_the_ca_bundle_signs(certificate: Certificate) -> None:
    app = mcp_server().http_app(path="/mcp")
    async with served(app, (certificate.certificate, certificate.key)) as url:
        result = await probe(Target(url=f"{url}/mcp", ca_bundle=certificate.pem))
    assert result.ok, result.error


@pytest.mark.parametrize("end", [Reply(then="hang"), Reply(then="close"), http("500 Internal Server Error")])
async def test_a_server_that_does_not_let_go_of_the_session_is_healthy(
    end: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_operator.probe.exchange._CLOSE_SECONDS", 0.05)
    began = time.monotonic()
    async with raw(Scripted({"DELETE": end})) as url:
        result = await probe(Target(url=url, timeout=60))
    assert result.ok, result.error
    assert time.monotonic() - began < 50
    assert result.seconds < 50


async def test_a_probe_can_be_cancelled() -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(1)
        asked.set()
        await asyncio.Event().wait()

    async with raw(silent) as url:
        probing = asyncio.create_task(probe(Target(url=url, timeout=60)))
        await asked.wait()
        probing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probing
