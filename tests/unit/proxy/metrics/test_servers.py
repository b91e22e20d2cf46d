"""Whether servers answer, since when, and how often they came back; and what several workers say of that together."""

import asyncio
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from mcp_operator_proxy.metrics import Metrics
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.report import ProcessReport, ServerReport, StatusReport
from mcp_operator_proxy.table import Entry
from mcp_operator_proxy.workers.merge import merge_metrics
from support.backends import client, eventually
from support.gateway import Gateway, running_gateway
from support.scraped import parsed, scraped
from support.waiting import Eventually
from unit.proxy.test_stdio_backends import command
from unit.proxy.test_stdio_backends import config as stdio_config

from .calling import calling

STATUS, UPTIME, RESTARTS = "mcp_server_status", "mcp_server_uptime_seconds", "mcp_server_restarts_total"


async def seen(gateway: Gateway, server: str) -> tuple[float, float, float]:
    found = await scraped(gateway)
    status, uptime, restarts = (found.value(name, server_id=server) for name in (STATUS, UPTIME, RESTARTS))
    return status, uptime, restarts


async def test_a_server_that_dies_and_comes_back() -> None:
    settings = {"retry": {"backoffSeconds": 0.1}, "refreshSeconds": 0.2}
    async with calling("modern", lane=True, server=settings) as through:
        gateway = through.gateway
        status, uptime, restarts = await seen(gateway, "ns/a")
        assert (status, restarts) == (1, 0)
        assert uptime > 0
        later = (await seen(gateway, "ns/a"))[1]
        assert later > uptime

        async def is_down() -> bool:
            return await seen(gateway, "ns/a") == (0, 0, 0)

        async def is_back() -> bool:
            found = await seen(gateway, "ns/a")
            return found[0] == 1 and found[2] == 1

        await through.served.stop()
        await eventually(is_down)
        down = datetime.now(UTC)
        await through.served.start()
        await eventually(is_back)
        assert 0 < (await seen(gateway, "ns/a"))[1] <= (datetime.now(UTC) - down).total_seconds()


async def test_a_process_that_ends(eventually: Eventually) -> None:
    async with running_gateway(stdio_config("1", one=command())) as gateway, client(gateway.url) as through:
        before = await seen(gateway, "ns/one")
        assert (before[0], before[2]) == (1, 0)
        with pytest.raises(Exception, match="one"):
            await through.call_tool("one_crash", {})

        async def again() -> bool:
            found = await seen(gateway, "ns/one")
            return found[0] == 1 and found[2] == 1

        await eventually(again)


def reported(**more: object) -> StatusReport:
    server = ServerReport.model_validate({"id": "ns/a", "state": "ready", **more})
    return StatusReport(version="1", revision="1", started_at=datetime.now(UTC), servers=(server,))


def test_of_several_workers() -> None:
    since = datetime.now(UTC) - timedelta(seconds=1000)
    reports = [
        reported(up_since=since, restarts=3),
        reported(up_since=since + timedelta(seconds=500), restarts=2),
    ]
    texts = [Metrics(lambda one=one: one, dict).render() for one in reports]  # type: ignore[misc]
    merged = parsed(merge_metrics(texts).decode())
    uptime = merged.value(UPTIME, server_id="ns/a")
    assert (merged.value(STATUS, server_id="ns/a"), merged.value(RESTARTS, server_id="ns/a")) == (1, 3)
    assert 500 <= uptime < 1000
    for down in ({"state": "error"}, {"state": "pending"}, {"state": "ready", "circuit": "open"}):
        texts[1] = Metrics(lambda down=down: reported(**down), dict).render()  # type: ignore[misc]
        assert parsed(merge_metrics(texts).decode()).value(STATUS, server_id="ns/a") == 0


def test_each_worker_has_processes_of_its_own_whose_ends_add_up() -> None:
    reports = [reported(restarts=ends, process=ProcessReport(state="ready", restarts=ends)) for ends in (3, 2)]
    texts = [Metrics(lambda one=one: one, dict).render() for one in reports]  # type: ignore[misc]
    merged = parsed(merge_metrics(texts).decode())
    assert merged.value(RESTARTS, server_id="ns/a") == 5
    assert merged.value("mcp_proxy_stdio_restarts_total", server="ns/a") == 5


def test_the_age_of_a_process_is_told_and_what_is_stopped_has_no_series() -> None:
    process = ProcessReport(state="ready", uptime_seconds=12.5)
    text = Metrics(lambda: reported(process=process, up_since=datetime.now(UTC)), dict).render()
    assert parsed(text.decode()).value(UPTIME, server_id="ns/a") == 12.5
    stopped = parsed(Metrics(lambda: reported(stopped=True), dict).render().decode())
    assert not {STATUS, UPTIME, RESTARTS} & {name for name, _ in stopped.samples}


async def test_the_calls_of_several_workers_add_up() -> None:
    async with calling("modern", lane=True) as one, calling("modern", lane=False) as other:
        for through in (one, other, other):
            await through.raw.call("a_text")
        await other.raw.call("a_failed")
        texts = [(await through.gateway.get("/metrics")).content for through in (one, other)]
        merged = parsed(merge_metrics(texts).decode())
        executions, added = "mcp_tool_executions_total", "mcp_proxy_added_seconds_count"
        assert merged.value(executions, tool_id="a.text", status="ok") == 3
        assert merged.value(executions, tool_id="a.failed", status="tool_error") == 1
        assert merged.value("mcp_tool_execution_duration_seconds_count", tool_id="a.text") == 3
        assert merged.by(added, "way") == {"lane": 1, "full": 3, "rest": 0}
        connections = merged.by("mcp_proxy_backend_connections", "state", server="ns/a")
        assert sum(connections.values()) >= 2


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's prometheus is not installed")
async def test_promtool_finds_nothing_wrong() -> None:
    async with calling("modern", lane=True, rest={}) as through:
        for tool in ("text", "failed", "refused"):
            await through.raw.call(f"a_{tool}")
        text = (await through.gateway.get("/metrics")).content
    for found in (text, merge_metrics([text, text])):
        checked = await asyncio.to_thread(
            subprocess.run, ["promtool", "check", "metrics"], input=found, capture_output=True, timeout=60, check=False
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_an_entry_that_nobody_has_called_has_no_series() -> None:
    proxy = Proxy()
    proxy.record_call(Entry("ns/a", "t", {}), "ok", 0.1)  # no configuration is in use: there is no such tool
    assert not parsed(proxy.metrics.render().decode()).by("mcp_tool_executions_total", "tool_id")
