"""The lane within uvicorn: what is used of its inside is there, and its promises hold with the lane in front."""

import asyncio
import contextlib
import gc
import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from mcp_operator_proxy.app import App
from mcp_operator_proxy.fastlane.lane import MAX_BODY
from support.backends import ServedApp
from support.gateway import Gateway, make_config, running_gateway
from support.rawcalls import answers, wire
from support.rawclient import RawClient, raw_client
from support.scripted import Scripted
from support.waiting import Eventually

TAKEN = "mcp_proxy_fast_lane_requests_total"


def taken(gateway: Gateway) -> float:
    return gateway.proxy.metrics.registry.get_sample_value(TAKEN, {"outcome": "answered"}) or 0.0


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[tuple[RawClient, Scripted, Gateway]]:
    scripted = Scripted("modern")
    async with (
        ServedApp(scripted.app) as served,
        running_gateway(make_config({"a": served.url})) as gateway,
        raw_client(gateway.url, "modern") as client,
    ):
        yield client, scripted, gateway


async def test_a_call_leaves_nothing_to_the_garbage_collector() -> None:
    """What a call was made of is freed with it; a cycle of references would keep it until a collection."""
    calls = 100
    async with stage() as (client, _, gateway):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.base.rpartition(":")[2]))

        async def call(first: int) -> None:
            for number in range(first, first + calls):
                writer.write(wire(client, gateway.base, "a_text", number))
                assert "result" in (await answers(reader, 1))[0]

        await call(1)
        before = taken(gateway)
        gc.collect()
        gc.disable()
        try:
            await call(1000)
            assert taken(gateway) == before + calls
            assert gc.collect() < calls
        finally:
            gc.enable()
            writer.close()


def test_what_is_used_of_uvicorn_is_there() -> None:
    parameters = inspect.signature(RequestResponseCycle).parameters
    assert list(parameters) == [
        "scope", "transport", "flow", "logger", "access_logger", "access_log", "default_headers", "message_event",
        "expect_100_continue", "keep_alive", "on_response",
    ]  # fmt: skip
    assert STATUS_LINE[404] == b"HTTP/1.1 404 Not Found\r\n"
    for name in (
        "on_headers_complete",
        "on_body",
        "on_message_complete",
        "on_response_complete",
        "_start_asgi_task",
        "shutdown",
    ):
        assert callable(getattr(HttpToolsProtocol, name))
    config = uvicorn.Config(App.__call__, log_config=None)
    made = HttpToolsProtocol(config, ServerState(), {}, asyncio.new_event_loop())
    made.loop.close()
    for name in (
        "cycle",
        "scope",
        "url",
        "headers",
        "parser",
        "flow",
        "limit_concurrency",
        "root_path",
        "server_state",
        "pipeline",
        "client",
        "scheme",
    ):
        assert hasattr(made, name) or name == "url", name
    assert "url" in HttpToolsProtocol.on_message_begin.__code__.co_names
    for name in (
        "response_complete",
        "disconnected",
        "message_event",
        "keep_alive",
        "body",
        "more_body",
        "response_started",
    ):
        assert name in RequestResponseCycle.__init__.__code__.co_names, name
    lost = HttpToolsProtocol.connection_lost.__code__.co_names
    assert {"cycle", "response_complete", "disconnected", "message_event", "set"} <= set(lost)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with stage() as (client, scripted, gateway):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.base.rpartition(":")[2]))
        tools = ["a_hold", "a_text", "nobody", "a_text", "a_failed"]
        writer.write(b"".join(wire(client, gateway.base, tool, number) for number, tool in enumerate(tools)))
        async with asyncio.timeout(10):
            while not scripted.calls:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            assert len(scripted.calls) == 1
            scripted.go.set()
            found = await answers(reader, len(tools))
        assert [answer["id"] for answer in found] == list(range(len(tools)))
        assert ["error" in answer for answer in found] == [False, False, True, False, False]
        writer.close()


async def test_requests_in_pieces_and_large_ones_arrive() -> None:
    async with stage() as (client, scripted, gateway):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.base.rpartition(":")[2]))
        request = wire(client, gateway.base, "a_text", 7)
        before = taken(gateway)
        async with asyncio.timeout(10):
            for start in range(0, len(request), 97):
                writer.write(request[start : start + 97])
                await writer.drain()
                await asyncio.sleep(0)
            assert (await answers(reader, 1))[0]["id"] == 7
        assert taken(gateway) == before + 1
        writer.close()
        answer = await client.call("a_text", {"text": "x" * MAX_BODY})
        assert answer.message is not None
        assert len(answer.message["result"]["content"][0]["text"]) > MAX_BODY
        assert taken(gateway) == before + 1
        assert len(scripted.calls[-1].params["arguments"]["text"]) == MAX_BODY


async def test_a_client_that_wants_the_connection_closed_gets_that() -> None:
    async with stage() as (client, _, gateway):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.base.rpartition(":")[2]))
        writer.write(wire(client, gateway.base, "a_text", 1, "connection: close"))
        async with asyncio.timeout(10):
            whole = await reader.read()
        assert b"connection: close" in whole
        assert whole.endswith(b"}")
        writer.close()


async def test_an_orderly_stop_waits_for_calls_of_the_lane(eventually: Eventually) -> None:
    async with contextlib.AsyncExitStack() as stack:
        client, scripted, gateway = await stack.enter_async_context(stage())
        calling = asyncio.create_task(client.call("a_hold"))
        await eventually(lambda: scripted.calls)

        async def let_go() -> None:
            await eventually(lambda: gateway.proxy.draining)
            scripted.go.set()

        letting = asyncio.create_task(let_go())
        await gateway.proxy.drain()
        answer = await calling
        await letting
        assert answer.message is not None
        assert "result" in answer.message


@pytest.mark.parametrize("tool", ["a_text", "a_progress", "a_refused", "nobody"])
async def test_the_lane_serves_behind_any_asgi_server(tool: str) -> None:
    async with stage() as (client, scripted, gateway):
        scripted.go.set()
        expected = await client.call(tool, meta={"progressToken": 1})
        before = taken(gateway)
        async with ServedApp(lambda: App(gateway.proxy)) as plain, raw_client(plain.url, "modern") as through:
            found = await through.call(tool, meta={"progressToken": 1})
        assert (found.status, found.kind, found.notes) == (expected.status, expected.kind, expected.notes)
        assert (found.message or {}).get("result") == (expected.message or {}).get("result")
        assert (found.message or {}).get("error") == (expected.message or {}).get("error")
        assert taken(gateway) == before + (tool != "nobody")


async def test_a_client_of_another_asgi_server_that_leaves_frees_its_place(eventually: Eventually) -> None:
    async with stage() as (client, scripted, gateway):
        async with ServedApp(lambda: App(gateway.proxy)) as plain, raw_client(plain.url, "modern") as through:
            calling = asyncio.create_task(through.call("a_hold"))
            await eventually(lambda: scripted.calls and len(gateway.proxy.lane))
            calling.cancel()
            await asyncio.wait([calling])
            await eventually(lambda: len(gateway.proxy.lane) == 0 and scripted.gone == 1)
        assert (await client.call("a_text")).status == 200


async def test_an_idle_connection_is_closed_after_the_keep_alive_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage() as (client, _, gateway):
        made: list[Any] = []
        original = HttpToolsProtocol.connection_made

        def short(self: Any, transport: Any) -> None:
            original(self, transport)
            self.timeout_keep_alive = 2.0
            made.append(self)

        monkeypatch.setattr(HttpToolsProtocol, "connection_made", short)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.base.rpartition(":")[2]))
        async with asyncio.timeout(60):
            for number, tool in enumerate(["a_text", "nobody", "a_text", "a_text"]):
                writer.write(wire(client, gateway.base, tool, number))
                assert (await answers(reader, 1))[0]["id"] == number
            assert await reader.read() == b""
        assert made[0].server_state.total_requests >= 4
        writer.close()
