"""Spans on their way to the collector: batches, failures, swaps, the end. A call waits for none of it."""

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

import pytest
from starlette.responses import Response

from mcp_operator_proxy.egress import Egress
from mcp_operator_proxy.swap.validate import ConfigRejected, SecretMissing
from mcp_operator_proxy.tracing import export
from mcp_operator_proxy.tracing.context import Context
from mcp_operator_proxy.tracing.counts import Counts
from mcp_operator_proxy.tracing.export import Exporter, resource
from mcp_operator_proxy.tracing.settings import TracingSettings, traces_url
from mcp_operator_proxy.tracing.spans import SERVER, Span
from support.backends import HungServer, ServedApp, dead_port
from support.collector import Collector
from support.gateway import Gateway, make_config, running_gateway
from support.waiting import Eventually
from unit.proxy.tracing.harness import stage

CALL: dict[str, Any] = {"name": "a_text", "arguments": {}}
CLOSE_SECONDS = 20.0


def span(name: str = "x") -> Span:
    now = time.time_ns()
    return Span(name, SERVER, Context(1, 2, 1), None, now, now, {"a": "b", "n": 1}, None)


def count(gateway: Gateway, outcome: str) -> float:
    return gateway.proxy.metrics.registry.get_sample_value("mcp_proxy_spans_total", {"outcome": outcome}) or 0.0


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://otlp.example.com/otlp", "https://otlp.example.com/otlp/v1/traces"),
        ("http://collector:4318/v1/traces", "http://collector:4318/v1/traces"),
    ],
)
def test_where_traces_go(base: str, url: str) -> None:
    assert traces_url(base) == url


def test_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def about(name: str | None) -> dict[str, str]:
        return {pair.key: pair.value.string_value for pair in resource(name, "one").attributes}

    assert about("tools")["service.name"] == "tools"
    assert about(None)["service.name"] == "mcp-operator-proxy"
    assert about(None)["service.instance.id"] == "one"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    assert about(None)["service.name"] == "mine"
    assert about("tools")["service.name"] == "tools"
    assert about(None)["deployment.environment.name"] == "test"


def _batches_of(spans: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of what has come when the exporter's thread happens to look: the spans of one call may be parted."""
    monkeypatch.setattr(export, "BATCH", spans)
    monkeypatch.setattr(export, "DELAY_SECONDS", 60.0)


async def test_headers_come_from_secrets() -> None:
    headers = [{"name": "Authorization", "secret": {"file": "token"}}, {"name": "X-Tenant", "value": "one"}]
    async with stage(tracing={"headers": headers}, secrets={"token": "Bearer hidden"}) as on:
        pass  # what waits is sent at the end
    assert {(h["authorization"], h["x-tenant"]) for h in on.collector.headers} == {("Bearer hidden", "one")}
    assert set(on.collector.paths) == {"/v1/traces"}


@pytest.mark.parametrize(
    ("secrets", "error", "said"),
    [
        ({}, SecretMissing, "tracing.headers[0]: there is no secret file token"),
        ({"token": "two\nlines"}, ConfigRejected, "tracing.headers[0]: the content of the secret file token"),
    ],
)
async def test_a_header_that_cannot_be_sent(secrets: dict[str, str], error: type[Exception], said: str) -> None:
    tracing = {"endpoint": "http://x:4318", "headers": [{"name": "A", "secret": {"file": "token"}}]}
    async with running_gateway(make_config({})) as gateway:
        with pytest.raises(error) as refused:
            await gateway.proxy.apply(make_config({}, tracing=tracing), secrets)
        assert str(refused.value).startswith(said)
        assert "two" not in str(refused.value)


async def test_a_collector_that_is_away_is_told_of_once(
    eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with stage() as on:
        await eventually(lambda: len(on.collector.spans) == 2)
        on.collector.answers = [Response(status_code=503) for _ in range(3)]
        _, spans, __ = await on.traced(eventually, "tools/call", CALL)
        assert len(spans) == 2
        assert on.collector.asked >= 5
        await eventually(lambda: count(on.gateway, "exported") == 4)

        def told() -> list[str]:
            return [record.message for record in caplog.records if "collector of traces" in record.message]

        once = ["the collector of traces does not take spans", "the collector of traces takes spans again"]
        await eventually(lambda: len(told()) >= len(once))  # by the exporter's thread, after it has counted
        assert told() == once
        assert count(on.gateway, "failed") == 0


async def test_what_is_refused_is_not_sent_again(eventually: Eventually, monkeypatch: pytest.MonkeyPatch) -> None:
    _batches_of(2, monkeypatch)
    async with stage() as on:
        await eventually(lambda: len(on.collector.spans) == 2)
        on.collector.answers = [Response(status_code=400)]
        answer = await on.client.call("a_text")
        assert answer.status == 200
        await eventually(lambda: count(on.gateway, "failed") == 2)
        assert on.collector.asked == 2


async def test_a_dead_collector_fails_no_call(eventually: Eventually) -> None:
    async with stage(tracing={"endpoint": f"http://127.0.0.1:{dead_port()}"}) as on:
        for _ in range(5):
            answer = await on.client.call("a_text")
            assert answer.message is not None
            assert "result" in answer.message
        await eventually(lambda: count(on.gateway, "failed") == 12)


def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "MAX_WAITING", 3)
    monkeypatch.setattr(export, "DELAY_SECONDS", 60.0)
    counts = Counts()
    exporter = Exporter(TracingSettings(f"http://127.0.0.1:{dead_port()}"), "one", None, counts)
    for _ in range(5):
        exporter.add(span())
    assert counts.dropped == 2
    exporter.close(CLOSE_SECONDS)
    assert counts.failed == 3
    exporter.add(span())
    assert counts.dropped == 3


async def test_a_collector_that_hangs_does_not_hold_up_the_end(
    eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    counts = Counts()
    async with HungServer() as hung:
        exporter = Exporter(TracingSettings(hung.url), "one", None, counts)
        exporter.add(span())
        await eventually(lambda: hung.connections == 1)
        await asyncio.to_thread(exporter.close, 0.2)
        assert [r.message for r in caplog.records] == ["spans were not sent to the collector of traces"]
    # The connection ends with the server, and the thread with it.
    for thread in threading.enumerate():
        if thread.name == "traces":
            await asyncio.to_thread(thread.join, CLOSE_SECONDS)
            assert not thread.is_alive()
    assert counts.failed == 1


async def test_what_the_egress_rule_forbids(caplog: pytest.LogCaptureFixture) -> None:
    counts, collector = Counts(), Collector()
    async with ServedApp(collector.app, path="") as served:
        exporter = Exporter(TracingSettings(served.url), "one", Egress(), counts)
        exporter.add(span())
        await asyncio.to_thread(exporter.close, CLOSE_SECONDS)
    assert counts.failed == 1
    assert collector.asked == 0
    assert "does not take spans" in caplog.text


async def test_partial_success_is_counted(eventually: Eventually, monkeypatch: pytest.MonkeyPatch) -> None:
    _batches_of(3, monkeypatch)
    counts, collector = Counts(), Collector()
    answer = export.ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    collector.answers = [Response(answer.SerializeToString()), Response(b"not protobuf")]
    async with ServedApp(collector.app, path="") as served:
        exporter = Exporter(TracingSettings(served.url), "one", None, counts)
        for number in (1, 2):
            for _ in range(3):
                exporter.add(span())
            await eventually(lambda number=number: collector.asked >= number)
        await asyncio.to_thread(exporter.close, CLOSE_SECONDS)
    assert (counts.exported + counts.rejected, counts.rejected) == (6, 2)


async def test_a_swap_moves_on_off_and_elsewhere_without_a_failed_call(eventually: Eventually) -> None:
    other = Collector()
    async with stage() as on, ServedApp(other.app, path="") as served:
        done, answers = asyncio.Event(), []

        async def work() -> None:
            while not done.is_set():
                answers.append(await on.client.call("a_text"))

        working = asyncio.create_task(work())
        await eventually(lambda: len(on.collector.spans) > 4)
        apply = on.gateway.proxy.apply
        await apply(on.config(revision="other", tracing={"endpoint": served.url, "serviceName": "there"}))
        await eventually(lambda: len(other.spans) > 4)
        await apply(on.config(revision="off"))
        await eventually(lambda: not any(thread.name == "traces" for thread in threading.enumerate()))
        told, called = len(other.spans), len(answers)
        await eventually(lambda: len(answers) > called + 5)
        assert len(other.spans) == told
        await apply(on.config(revision="on", tracing={"endpoint": served.url, "sampleRatio": 1}))
        await eventually(lambda: len(other.spans) > told + 4)
        done.set()
        await working
        assert {span.about["service.name"] for span in other.spans} >= {"there", "mcp-operator-proxy"}
        assert all(answer.message is not None and "result" in answer.message for answer in answers)


async def test_a_swap_of_something_else_leaves_it_alone(eventually: Eventually) -> None:
    async with stage() as on:
        tracer = on.gateway.proxy.services.tracing.tracer
        made = on.config(revision="next", tracing={"endpoint": on.endpoint, "serviceName": "tools"}, accessLog=False)
        assert await on.gateway.proxy.apply(made)
        assert on.gateway.proxy.services.tracing.tracer is tracer
        changed = {"endpoint": on.endpoint, "serviceName": "tools", "headers": [{"name": "a", "value": "b"}]}
        assert await on.gateway.proxy.apply(on.config(revision="next", tracing=changed))
        await on.traced(eventually, "tools/call", CALL)
        assert "b" in {headers.get("a") for headers in on.collector.headers}


OFF = """
import asyncio, sys
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.app import App

async def main():
    async with Proxy() as proxy:
        await proxy.apply(ProxyConfig(revision="a"))
        App(proxy)
        assert proxy.services.tracing.tracer is None
        assert proxy.lane.tracing is None
asyncio.run(main())
loaded = [m for m in sys.modules if m.startswith(("opentelemetry.sdk", "opentelemetry.proto", "opentelemetry.exporter"))]
assert not loaded, loaded
assert "mcp_operator_proxy.tracing.export" not in sys.modules
"""
WITHOUT = """
import asyncio, sys
sys.modules["opentelemetry.sdk"] = None
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.swap.validate import ConfigRejected

async def main():
    async with Proxy() as proxy:
        try:
            await proxy.apply(ProxyConfig.model_validate({"revision": "a", "tracing": {"endpoint": "http://x"}}))
        except ConfigRejected as error:
            assert "mcp-operator[tracing]" in str(error), error
        else:
            raise AssertionError
asyncio.run(main())
"""


@pytest.mark.parametrize("program", [OFF, WITHOUT], ids=["off", "not-installed"])
def test_what_is_imported(program: str) -> None:
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_no_header_is_shown() -> None:
    assert "hidden" not in repr(TracingSettings("http://x", headers={"a": "hidden"}))
