"""Testing a connection: what it finds, how often it tries, and what it does not try again."""

import asyncio
from typing import Any

import pytest
from fastmcp import FastMCP
from mcp_types import PaginatedRequestParams

from mcp_operator_proxy.backends.check import ConnectionReport, check
from mcp_operator_proxy.backends.connect import Target
from mcp_operator_proxy.config import Retry
from support.backends import HungServer, ServedMCP, dead_port, eventually
from support.gateway import make_config, running_gateway

QUICK = Retry(attempts=3, backoff_seconds=0.01)


def server() -> FastMCP[Any]:
    return FastMCP("weather", version="1.2.3")


@pytest.mark.parametrize(
    ("transport", "served_era", "era", "version"),
    [
        ("http", "both", "modern", "2026-07-28"),
        ("http", "legacy", "legacy", "2025-11-25"),
        ("sse", "both", "modern", "2026-07-28"),
    ],
)
async def test_what_is_found(transport: str, served_era: str, era: str, version: str) -> None:
    async with ServedMCP(server(), transport=transport, era=served_era) as served:
        report = await check(Target(url=served.url, connect_timeout=60), QUICK)
    assert report.ok
    assert (report.era, report.protocol_version, report.attempts) == (era, version, 1)
    assert (report.server_name, report.server_version) == ("weather", "1.2.3")
    assert report.transport == {"http": "streamable-http", "sse": "sse"}[transport]
    assert report.latency_seconds is not None
    assert report.latency_seconds > 0
    assert "tools" in report.capabilities


async def test_what_may_be_over_soon_is_tried_again() -> None:
    report = await check(Target(url=f"http://127.0.0.1:{dead_port()}/mcp"), QUICK)
    assert (report.attempts, report.ok) == (3, False)
    assert report == ConnectionReport(error=report.error, attempts=3)
    assert report.error is not None
    assert report.error.error_class == "ConnectionRefused"


async def test_a_server_that_comes_in_time_is_found() -> None:
    served = ServedMCP(server())
    await served.start()
    await served.stop()
    checking = asyncio.create_task(check(Target(url=served.url), Retry(attempts=20, backoff_seconds=0.02)))
    await asyncio.sleep(0)
    await served.start()
    report = await checking
    await served.stop()
    assert report.ok


async def test_what_only_an_edit_can_mend_is_not_tried_again() -> None:
    async with ServedMCP(server()) as served:
        report = await check(Target(url=served.url.replace("/mcp", "/elsewhere")), QUICK)
    assert report.error is not None
    assert (report.error.error_class, report.attempts) == ("NotFound", 1)


async def test_a_hung_server_takes_its_time_and_no_more() -> None:
    async with HungServer() as hung:
        report = await check(Target(url=hung.url, connect_timeout=0.05), QUICK)
    assert report.error is not None
    assert (report.error.error_class, report.attempts) == ("Timeout", 3)


async def test_a_backend_tests_its_own_server_while_it_serves() -> None:
    mcp = server()
    async with ServedMCP(mcp) as served:
        config = {"retry": {"attempts": 1}, "headers": [{"name": "X-Team", "value": "core"}]}
        async with running_gateway(make_config({"w": served.url}, server=config)) as running:
            assert running.proxy.state is not None
            backend = running.proxy.state.backends["ns/w"]
            assert (await backend.test_connection()).server_name == "weather"
            assert all(headers.get("x-team") == "core" for headers in served.requests)
            await served.stop()
            report = await backend.test_connection()
            assert report.error is not None
            assert (report.error.error_class, report.attempts) == ("ConnectionRefused", 1)


async def test_phases() -> None:
    listing, mcp = asyncio.Event(), server()

    async def tools(*_: Any) -> dict[str, Any]:
        await listing.wait()
        return {"tools": [], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}

    mcp._mcp_server.add_request_handler("tools/list", PaginatedRequestParams, tools)
    async with ServedMCP(mcp) as served, HungServer() as hung:
        urls = {"w": served.url, "hung": hung.url}
        config = make_config(urls, server={"connectTimeoutSeconds": 600})
        async with running_gateway(config, warm_seconds=0.01) as running:

            def phase(name: str) -> str:
                return next(s.phase for s in running.proxy.status().servers if s.id == f"ns/{name}")

            assert phase("hung") == "pending"
            await eventually(lambda: phase("w") == "connected")
            listing.set()
            await eventually(lambda: phase("w") == "initialized")
            await served.stop()
            running.proxy.state.backends["ns/w"].nudge()  # type: ignore[union-attr]
            await eventually(lambda: phase("w") == "error")
            assert phase("hung") == "pending"
