"""However a server fails, nobody is told that it has nothing, or that it answered with nothing."""

import asyncio
import contextlib
import json
from typing import Any

import pytest
from fastmcp.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mcp_operator_proxy.eras import translate
from support.backends import ServedApp, client, eventually
from support.gateway import Gateway, make_config, running_gateway
from support.modern import ModernClient

TOOL = {"name": "one", "inputSchema": {"type": "object"}}
GOOD: dict[str, dict[str, Any]] = {
    "tools/list": {"tools": [TOOL]},
    "prompts/list": {"prompts": [{"name": "ask"}]},
    "resources/list": {"resources": [{"uri": "data://one", "name": "one"}]},
    "resources/templates/list": {"resourceTemplates": [{"uriTemplate": "data://item/{key}", "name": "item"}]},
    "tools/call": {"content": [{"type": "text", "text": "1"}]},
    "prompts/get": {"messages": [{"role": "user", "content": {"type": "text", "text": "1"}}]},
    "resources/read": {"contents": [{"uri": "data://one", "text": "1"}]},
}
KEYS = {"tools/list": "tools", "prompts/list": "prompts", "resources/list": "resources"}
CAPABILITIES = {"tools": {}, "prompts": {}, "resources": {}}
FAILURES = {
    "an HTTP error": (503, "text/plain", lambda _: "busy"),
    "unauthorized": (401, "application/json", lambda _: "{}"),
    "a web page": (200, "text/html", lambda _: "<html>"),
    "an empty body": (200, "application/json", lambda _: ""),
    "no object": (200, "application/json", lambda _: "[]"),
    "no result": (200, "application/json", lambda i: json.dumps({"jsonrpc": "2.0", "id": i})),
    "an empty result": (200, "application/json", lambda i: json.dumps({"jsonrpc": "2.0", "id": i, "result": {}})),
    "null": (200, "application/json", lambda i: json.dumps({"jsonrpc": "2.0", "id": i, "result": None})),
    "lists of null": (
        200,
        "application/json",
        lambda i: json.dumps(
            {"jsonrpc": "2.0", "id": i, "result": dict.fromkeys([*KEYS.values(), "content", "messages", "contents"])}
        ),
    ),
    "an error": (
        200,
        "application/json",
        lambda i: json.dumps({"jsonrpc": "2.0", "id": i, "error": {"code": -32603, "message": "no"}}),
    ),
    "an unknown method": (
        200,
        "application/json",
        lambda i: json.dumps({"jsonrpc": "2.0", "id": i, "error": {"code": -32601, "message": "no"}}),
    ),
    "a stream that ends": (200, "text/event-stream", lambda _: ": nothing\n\n"),
    "accepted": (202, "application/json", lambda _: ""),
}


class Failing:
    """Servers of one era, by their path. When `on` is set, each fails in its own way, but for the handshake."""

    def __init__(self, era: str) -> None:
        self.era = era
        self.on = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        how = list(FAILURES)[int(request.url.path.removeprefix("/f"))] if self.on else None
        await self._answer(request.method, await request.body(), how)(scope, receive, send)

    def _answer(self, verb: str, body: bytes, how: str | None) -> Response:
        if verb != "POST":
            return Response(status_code=405)
        message = json.loads(body)
        method, number = message["method"], message.get("id")
        if number is None:
            return Response(status_code=202)
        result = self._handshake(method)
        if result is None and how is not None:
            status, kind, made = FAILURES[how]
            return Response(made(number), status, media_type=kind)
        if result is None:
            result = dict(GOOD[method])
            if self.era == "modern":
                result |= {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        elif "code" in result:
            return _json({"jsonrpc": "2.0", "id": number, "error": result})
        return _json({"jsonrpc": "2.0", "id": number, "result": result})

    def _handshake(self, method: str) -> dict[str, Any] | None:
        info = {"name": "failing", "version": "1"}
        if method == "server/discover":
            if self.era == "legacy":
                return {"code": -32601, "message": "unknown method"}
            return {
                "supportedVersions": ["2026-07-28"],
                "capabilities": CAPABILITIES,
                "resultType": "complete",
                "ttlMs": 0,
                "cacheScope": "private",
                "_meta": {"io.modelcontextprotocol/serverInfo": info},
            }
        if method == "initialize":
            if self.era == "modern":
                return {"code": -32601, "message": "unknown method"}
            return {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "serverInfo": info}
        return None


def _json(message: Any) -> Response:
    return Response(json.dumps(message), media_type="application/json")


async def _fails(gateway: Gateway, name: str) -> None:
    for capabilities in ({}, {"elicitation": {}}):
        async with ModernClient(gateway.url, capabilities) as modern:
            for answer in await asyncio.gather(
                modern.call(f"{name}_one"),
                modern.request("prompts/get", {"name": f"{name}_ask"}),
                modern.request("resources/read", {"uri": f"data://{name}/one"}),
            ):
                assert answer.result is None
                assert answer.error is not None
                assert answer.error["message"]
    async with client(gateway.url, "legacy") as legacy:
        for asking in (
            legacy.call_tool(f"{name}_one", {}),
            legacy.get_prompt(f"{name}_ask"),
            legacy.read_resource(f"data://{name}/one"),
        ):
            with pytest.raises((MCPError, ToolError)):
                await asking


async def _lists_are_whole(gateway: Gateway) -> None:
    async with ModernClient(gateway.url) as modern:
        for method, key in KEYS.items():
            answer = await modern.request(method, {})
            assert answer.result is not None
            assert len(answer.result[key]) == len(FAILURES)
    async with client(gateway.url, "legacy") as legacy:
        for listing in (legacy.list_tools, legacy.list_prompts, legacy.list_resources):
            assert len(await listing()) == len(FAILURES)


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_whatever_a_server_answers(era: str) -> None:
    failing = Failing(era)
    patient = {"circuitBreaker": {"failures": 10_000}, "callTimeoutSeconds": 60, "connectTimeoutSeconds": 60}
    quick = {**patient, "callTimeoutSeconds": 1, "connectTimeoutSeconds": 1}
    names = [f"f{number}" for number in range(len(FAILURES))]
    async with ServedApp(lambda: failing, "/") as served:
        urls = {name: f"{served.url}{name}" for name in names}
        async with running_gateway(make_config(urls, server=patient)) as gateway:
            assert gateway.proxy.state is not None
            backends = gateway.proxy.state.backends.values()
            await eventually(lambda: all(backend.status.ever_ready for backend in backends), 60)
            await _lists_are_whole(gateway)
            failing.on = True
            await gateway.proxy.apply(make_config(urls, server=quick))
            for backend in backends:
                backend.nudge()
            await eventually(lambda: all(backend.status.error is not None for backend in backends), 60)
            await _lists_are_whole(gateway)
            await asyncio.gather(*(_fails(gateway, name) for name in names))
            failing.on = False
            await gateway.proxy.apply(make_config(urls, server=patient))
            async with ModernClient(gateway.url) as modern:
                assert (await modern.call("f0_one")).text == "1"


@pytest.mark.parametrize(
    ("method", "result", "whole"),
    [
        ("tools/call", {"content": []}, True),
        ("tools/call", {}, False),
        ("tools/call", {"resultType": "complete", "structuredContent": {}}, False),
        ("tools/call", {"content": None}, False),
        ("tools/call", {"resultType": "input_required", "requestState": "s"}, True),
        ("tools/call", {"resultType": "task", "taskId": "1"}, True),
        ("prompts/get", {"description": "d"}, False),
        ("prompts/get", {"messages": []}, True),
        ("resources/read", {"ttlMs": 5}, False),
        ("resources/read", {"contents": []}, True),
        ("completion/complete", {}, False),
        ("completion/complete", {"completion": {"values": []}}, True),
        ("vendor/method", {}, True),
    ],
)
def test_which_results_are_whole(method: str, result: Any, whole: bool) -> None:
    with contextlib.nullcontext() if whole else pytest.raises(ValidationError):
        translate.check_whole(method, result)
