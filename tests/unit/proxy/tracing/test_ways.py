"""Other ways than a call over MCP and HTTP that ends well: REST, stdio, refusals of all kinds, and a program that traces itself."""

import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from mcp_operator_proxy.config import ProxyConfig
from support.backends import ServedApp, client
from support.collector import Collector, Seen
from support.gateway import running_gateway
from support.waiting import Eventually
from unit.proxy.tracing.harness import parent_of, stage

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, SPAN = PARENT[3:35], PARENT[36:52]
CALL: dict[str, Any] = {"name": "a_text", "arguments": {}}
KEY = "key-of-the-client-0123"


def server(spans: list[Seen]) -> Seen:
    (found,) = [span for span in spans if span.is_server]
    return found


# REST


async def test_a_call_over_rest(eventually: Eventually) -> None:
    async with stage(rest={"prefix": "/api"}) as on:
        body = {"tool_id": "a.text", "parameters": {}}
        url = f"{on.gateway.base}/api/tools/call"
        answer = await on.client.http.post(url, json=body, headers={"traceparent": PARENT})
        assert answer.status_code == 200, answer.text
        await eventually(lambda: len(on.collector.of(TRACE)) == 2)
        got, asked = on.collector.of(TRACE)
        assert (got.parent, asked.parent) == (SPAN, got.id)
        assert got.name == "POST /tools/call"
        assert got.attributes == {
            "http.request.method": "POST",
            "http.route": "/tools/call",
            "http.response.status_code": 200,
            "url.path": "/api/tools/call",
            "url.scheme": "http",
            "network.transport": "tcp",
            "network.protocol.name": "http",
            "network.protocol.version": "1.1",
            "client.address": "127.0.0.1",
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "a.text",
        }
        assert asked.name == "tools/call text"
        assert asked.attributes["mcp_operator.server"] == "ns/a"
        assert parent_of(on.scripted.calls[-1]) == (TRACE, asked.id, "01")


@pytest.mark.parametrize(
    ("tool", "status", "error", "is_error", "legs"),
    [
        ("a.failed", 200, "tool_error", False, 1),
        ("a.nowhere", 404, "404", False, 0),
        ("a.overloaded", 502, "502", True, 1),
    ],
)
async def test_failures_over_rest(  # noqa: PLR0917
    tool: str,
    status: int,
    error: str,
    is_error: bool,
    legs: int,
    eventually: Eventually,
) -> None:
    async with stage(rest={}) as on:
        url = f"{on.gateway.base}/tools/call"
        answer = await on.client.http.post(
            url, json={"tool_id": tool, "parameters": {}}, headers={"traceparent": PARENT}
        )
        assert answer.status_code == status
        await eventually(lambda: any(span.is_server for span in on.collector.of(TRACE)))
        got, *asked = on.collector.of(TRACE)
        assert (got.attributes["error.type"], got.error, len(asked)) == (error, is_error, legs)


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_neither_users_nor_their_sign_ins_are_in_a_path(prefix: str, eventually: Eventually) -> None:
    async with stage(rest={"prefix": prefix}) as on:
        before = len([span for span in on.collector.spans if span.is_server])
        asked = [
            ("DELETE", f"{prefix}/sessions/carol"),
            ("PATCH", f"{prefix}/sessions/carol"),
            ("GET", "/oauth/start/carol"),
        ]
        for method, path in asked:
            assert (await on.client.http.request(method, on.gateway.base + path)).status_code >= 400

        def there() -> bool:
            return len([span for span in on.collector.spans if span.is_server]) >= before + len(asked)

        await eventually(there)
        assert {span.attributes["url.path"] for span in on.collector.spans if "url.path" in span.attributes} == {
            f"{prefix}/sessions/…",
            "/oauth/start/…",
        }
        assert "carol" not in str(on.collector.spans)


async def test_rest_without_tracing_sends_the_context_on() -> None:
    async with stage(rest={}, tracing={"sampleRatio": 0}) as on:
        body = {"tool_id": "a.text", "parameters": {}}
        unsampled = PARENT[:-2] + "00"
        await on.client.http.post(f"{on.gateway.base}/tools/call", json=body, headers={"traceparent": unsampled})
        assert parent_of(on.scripted.calls[-1]) == (TRACE, SPAN, "00")
        await on.gateway.proxy.apply(on.config(rest={}))
        await on.client.http.post(f"{on.gateway.base}/tools/call", json=body, headers={"traceparent": PARENT})
        assert on.scripted.calls[-1].headers["traceparent"] == PARENT


# Refusals


async def test_refused_before_it_is_read(eventually: Eventually) -> None:
    auth = {"apiKeys": [{"name": "team", "secret": {"file": "key"}}]}
    mine = {"authorization": f"Bearer {KEY}"}
    async with stage(auth=auth, secrets={"key": KEY}, headers=mine) as on:
        body, headers = on.client.request("tools/call", CALL)
        headers |= {"authorization": "Bearer another-key-012345", "traceparent": PARENT}
        assert (await on.client.post(body, headers)).status == 401
        await eventually(lambda: on.collector.of(TRACE))
        (got,) = on.collector.of(TRACE)
        assert (got.name, got.parent, got.error) == ("POST", SPAN, False)
        assert (got.attributes["http.response.status_code"], got.attributes["error.type"]) == (401, "401")
        assert "another-key" not in repr(on.collector.spans)
        assert KEY not in repr(on.collector.spans)


async def test_refused_by_the_policy(eventually: Eventually) -> None:
    policies = 'permit(principal, action, resource); forbid(principal, action, resource == Tool::"ns/a/empty");'
    async with stage(authorization={"policies": policies}) as on:
        _, (got,), sent = await on.traced(eventually, "tools/call", {"name": "a_empty", "arguments": {}})
        assert not sent
        assert got.name == "tools/call"
        assert got.attributes["mcp_operator.decision"] == "refused"
        assert got.attributes["error.type"] == "-32602"
        _, spans, __ = await on.traced(eventually, "tools/call", CALL)
        assert len(spans) == 2


async def test_one_too_many(eventually: Eventually) -> None:
    async with stage(rateLimits=[{"name": "few", "limit": "1/hour"}]) as on:  # which opened the session
        _, (got,), __ = await on.traced(eventually, "tools/call", CALL)
        assert got.attributes["mcp_operator.decision"] == "limited"
        assert got.attributes["error.type"] == "-32029"
        assert got.error


async def test_given_up_by_the_client(eventually: Eventually) -> None:
    async with stage() as on:
        async with on.client.streamed("a_progress", {"traceparent": PARENT}) as response:
            await anext(response.aiter_lines())
        await eventually(lambda: len(on.collector.of(TRACE)) == 2)
        got, asked = on.collector.of(TRACE)
        assert (got.attributes["error.type"], asked.attributes["error.type"]) == ("cancelled", "cancelled")
        on.scripted.go.set()


# Other transports


PROCESS = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    method, params = message["method"], message.get("params", {})
    if method == "initialize":
        result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "p", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": [{"name": "meta", "inputSchema": {"type": "object"}}]}
    else:
        result = {"content": [], "structuredContent": {"meta": params.get("_meta")}}
    if "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


async def test_the_context_reaches_a_process(eventually: Eventually) -> None:
    collector = Collector()
    async with ServedApp(collector.app, path="") as served:
        config = ProxyConfig.model_validate(
            {
                "revision": "a",
                "servers": [{"id": "ns/p", "stdio": {"command": sys.executable, "args": ["-c", PROCESS]}}],
                "routes": [{"name": "r", "path": "/mcp", "servers": [{"server": "ns/p", "prefix": "p"}]}],
                "tracing": {"endpoint": served.url},
            }
        )
        async with running_gateway(config) as gateway, client(gateway.url) as through:
            for _ in range(2):  # the second through the fast lane, where it takes it
                found = await through.call_tool("p_meta", {}, meta={"traceparent": PARENT})
                sent = found.structured_content["meta"]["traceparent"]
                assert sent.startswith(f"00-{TRACE}-")
                await eventually(lambda sent=sent: sent[36:52] in [span.id for span in collector.of(TRACE)])
        (asked, *_) = [span for span in collector.of(TRACE) if span.id == sent[36:52]]
        assert asked.attributes["network.transport"] == "pipe"
        assert "server.address" not in asked.attributes
        assert asked.name == "tools/call meta"


# A program with a tracer provider of its own

PROGRAM = """
import asyncio, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
seen = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(seen))
trace.set_tracer_provider(provider)

from unit.proxy.tracing.harness import parent_of, stage
from mcp_operator_proxy.tracing import export
export.DELAY_SECONDS = 0.02
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

async def main():
    async with stage("modern", "legacy") as on:  # takes the full path
        seen.clear()
        body, headers = on.client.request("tools/call", {"name": "a_text", "arguments": {}}, {"traceparent": PARENT})
        await on.client.post(body, headers)
        sent = on.scripted.calls[-1]
    got, asked = on.collector.of(PARENT[3:35])
    names = [(span.name, format(span.parent.span_id, "016x")) for span in seen.get_finished_spans()
             if span.context.trace_id == int(PARENT[3:35], 16)]
    assert names == [("MCP send tools/call text", asked.id)], names
    assert sent.headers["traceparent"][36:52] == asked.id
    assert sent.params["_meta"]["traceparent"][3:35] == PARENT[3:35]

asyncio.run(main())
"""


def test_a_program_that_traces_itself_sees_no_second_span_of_a_request() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
