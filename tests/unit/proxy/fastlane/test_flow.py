"""What happens in the middle of a call: streams, cancellation, ends of connections, and swaps."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from mcp_operator_proxy.fastlane import exchange, lane
from support.backends import ServedApp
from support.gateway import Gateway, make_config, running_gateway
from support.rawclient import Front, RawClient, raw_client
from support.scripted import Scripted
from support.waiting import Eventually

TAKEN = "mcp_proxy_fast_lane_requests_total"
BOTH: tuple[Front, ...] = ("legacy", "modern")


@contextlib.asynccontextmanager
async def stage(
    front: Front,
    *,
    prefix: str = "a",
    capabilities: dict[str, Any] | None = None,
    back: Front | None = None,
    **config: Any,
) -> AsyncIterator[tuple[RawClient, Scripted, Gateway, ServedApp]]:
    """A client, the server behind, the proxy between; a backend session is open already."""
    scripted = Scripted(back or front)
    async with ServedApp(scripted.app) as served:
        made = make_config({"a": served.url}, prefixes={"a": prefix}, **config)
        async with (
            running_gateway(made) as gateway,
            raw_client(gateway.url, front, capabilities=capabilities) as client,
        ):
            await client.call(f"{prefix}_text" if prefix else "text")
            yield client, scripted, gateway, served


def taken(gateway: Gateway, outcome: str = "answered") -> float:
    return gateway.proxy.metrics.registry.get_sample_value(TAKEN, {"outcome": outcome}) or 0.0


def in_flight(gateway: Gateway) -> int:
    state = gateway.proxy.state
    assert state is not None
    return len(gateway.proxy.lane) + sum(b.gate.report().in_flight for b in state.backends.values())


@pytest.mark.parametrize("front", BOTH)
async def test_events_pass_before_the_answer_is_there(front: Front) -> None:
    async with stage(front) as (client, scripted, gateway, _):
        meta = {"io.modelcontextprotocol/logLevel": "info"} if front == "modern" else {}
        before = taken(gateway)
        async with client.streamed("a_progress", meta) as response:
            lines = response.aiter_lines()
            first = ""
            while not first.startswith("data:"):
                first = await anext(lines)
            assert json.loads(first[5:])["method"] == "notifications/message"
            assert not scripted.go.is_set()
            scripted.go.set()
            rest = [line async for line in lines if line.startswith("data:")]
        assert [json.loads(line[5:]).get("method") for line in rest] == [None]
        assert taken(gateway) == before + 1


@pytest.mark.parametrize("front", BOTH)
async def test_a_large_body_passes_as_it_comes(front: Front) -> None:
    async with stage(front, prefix="") as (client, scripted, _, __):
        async with client.streamed("large") as response:
            chunks = response.aiter_raw()
            size = 0
            while size < 256 * 1024:
                size += len(await anext(chunks))
            assert not scripted.go.is_set()
            scripted.go.set()
            async for chunk in chunks:
                size += len(chunk)
        assert size > 2**20
        answer = await client.call("large")
        assert answer.message is not None
        assert len(answer.message["result"]["content"][0]["text"]) == 2**20
        assert answer.message["jsonrpc"] == "2.0"


async def test_a_large_body_that_may_need_rewriting_is_whole() -> None:
    async with stage("legacy") as (client, scripted, _, __):
        scripted.go.set()
        answer = await client.call("a_large")
        assert answer.message is not None
        assert len(answer.message["result"]["content"][0]["text"]) == 2**20


@pytest.mark.parametrize("front", BOTH)
async def test_a_client_that_leaves_frees_its_place(front: Front, eventually: Eventually) -> None:
    async with stage(front) as (client, scripted, gateway, _):

        async def call() -> None:
            async with client.streamed("a_hold"):
                pass

        calling = asyncio.create_task(call())
        await eventually(lambda: len(scripted.calls) == 2 and in_flight(gateway))
        calling.cancel()
        await asyncio.wait([calling])
        await eventually(lambda: in_flight(gateway) == 0)
        await eventually(lambda: scripted.gone == 1)


@pytest.mark.parametrize("back", BOTH)
async def test_a_cancelled_notification_ends_the_call(back: Front, eventually: Eventually) -> None:
    async with stage("legacy", back=back) as (client, scripted, gateway, _):
        body, headers = client.request("tools/call", {"name": "a_hold"}, None, request_id="mine")
        calling = asyncio.create_task(client.post(body, headers))
        await eventually(lambda: len(scripted.calls) == 2)
        other = {"method": "notifications/cancelled", "params": {"requestId": "another"}}
        assert (await client.post(other)).status == 202
        assert not calling.done()
        told = await client.post({"method": "notifications/cancelled", "params": {"requestId": "mine"}})
        assert told.status == 202
        answer = await calling
        assert answer.message == {
            "jsonrpc": "2.0",
            "id": "mine",
            "error": {"code": -32800, "message": "Request cancelled"},
        }
        assert in_flight(gateway) == 0
        await eventually(lambda: scripted.gone == 1)
        if back == "legacy":
            number = scripted.calls[-1].body["id"]
            await eventually(lambda: ("notifications/cancelled", number) in _cancelled(scripted))


def _cancelled(scripted: Scripted) -> list[tuple[str, Any]]:
    return [(s.body.get("method", ""), s.params.get("requestId")) for s in scripted.others]


@pytest.mark.parametrize("front", BOTH)
async def test_a_server_that_dies_in_its_answer_is_a_typed_error(front: Front) -> None:
    async with stage(front) as (client, scripted, gateway, _):
        before = taken(gateway)
        answer = await client.call("a_die")
        assert answer.message is not None
        error = answer.message["error"]
        assert error["data"] == {"server": "ns/a", "errorClass": "ConnectionReset"}
        assert [s.params["name"] for s in scripted.calls].count("die") == 1
        assert taken(gateway) == before + 1
        assert in_flight(gateway) == 0


@pytest.mark.parametrize("front", BOTH)
async def test_connections_that_were_cut_while_idle_are_not_used(front: Front, eventually: Eventually) -> None:
    async with stage(front) as (client, scripted, gateway, served):
        for _ in range(3):
            await client.call("a_text")
        served.cut()
        answer = await client.call("a_text")
        assert answer.message is not None
        assert "result" in answer.message or answer.message["error"]["data"]["errorClass"] == "ConnectionReset"
        calls = len(scripted.calls)
        await eventually(lambda: in_flight(gateway) == 0)
        answer = await client.call("a_text")
        assert answer.message is not None
        assert "result" in answer.message
        assert len(scripted.calls) == calls + 1


async def test_a_read_only_call_survives_a_broken_connection(eventually: Eventually) -> None:
    async with stage("modern") as (client, scripted, gateway, served):
        scripted.hold_once = "read_only"
        calling = asyncio.create_task(client.call("a_read_only"))
        await eventually(lambda: len(scripted.calls) == 2)
        served.cut()
        answer = await calling
        assert answer.message is not None
        assert "result" in answer.message
        assert taken(gateway, "handed_over") == 1
        assert len(scripted.calls) == 3


async def test_a_session_that_the_server_forgot_is_renewed() -> None:
    async with stage("legacy") as (client, scripted, gateway, _):
        await client.call("a_text")
        scripted.forgotten = True
        answer = await client.call("a_text")
        assert answer.message is not None
        assert "result" in answer.message
        assert taken(gateway, "handed_over") == 1
        before = taken(gateway)
        await client.call("a_text")
        assert taken(gateway) == before + 1
        assert len({call.headers["mcp-session-id"] for call in scripted.calls}) == 2


@pytest.mark.parametrize("front", BOTH)
async def test_a_call_that_takes_too_long_is_a_typed_error(front: Front, eventually: Eventually) -> None:
    server = {"tools": [{"name": "hold", "call_timeout_seconds": 0.3}]}
    async with stage(front, server=server) as (client, scripted, gateway, _):
        answer = await client.call("a_hold")
        assert answer.message is not None
        assert answer.message["error"]["data"]["errorClass"] == "Timeout"
        assert in_flight(gateway) == 0
        await eventually(lambda: scripted.gone == 1)


async def test_a_quiet_call_keeps_its_client_with_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "PING_SECONDS", 0.05)
    monkeypatch.setattr(lane, "TICK_SECONDS", 0.01)
    async with stage("modern") as (client, scripted, _, __), client.streamed("a_hold") as response:
        lines = response.aiter_lines()
        assert await anext(lines) == ": ping"
        scripted.go.set()
        rest = [line async for line in lines]
        assert any('"result"' in line for line in rest)


async def test_a_legacy_server_is_answered_what_the_client_did_not_declare(eventually: Eventually) -> None:
    async with stage("legacy") as (client, scripted, gateway, _):
        before = taken(gateway)
        calling = asyncio.create_task(client.call("a_ping_me"))
        await eventually(lambda: len([s for s in scripted.others if s.body.get("id") in ("q0", "q1")]) == 2)
        answers = {s.body["id"]: s.body for s in scripted.others if s.body.get("id") in ("q0", "q1")}
        assert answers["q0"]["result"] == {}
        assert answers["q1"]["error"]["code"] == -32601
        scripted.go.set()
        assert (await calling).message is not None
        assert taken(gateway) == before + 1


@pytest.mark.parametrize("front", BOTH)
async def test_a_question_in_a_result_goes_to_the_client_and_the_call_is_sent_once(
    front: Front, eventually: Eventually
) -> None:
    async with stage(front, back="modern", capabilities={"elicitation": {"form": {}}}) as (
        client,
        scripted,
        gateway,
        _,
    ):
        if front == "modern":
            answer = await client.call("a_asks")
            assert answer.message is not None
            assert answer.message["result"]["resultType"] == "input_required"
            assert taken(gateway, "handed_over") == 1
        else:
            before = len(scripted.calls)
            async with client.streamed("a_asks") as response:
                async for line in response.aiter_lines():
                    if not line.startswith("data:") or not line[5:].strip():
                        continue
                    message = json.loads(line[5:])
                    if message.get("method") == "elicitation/create":
                        accepted = {"id": message["id"], "result": {"action": "accept", "content": {"a": "x"}}}
                        assert (await client.post(accepted)).status == 202
                    elif "result" in message:
                        assert "accept" in message["result"]["content"][0]["text"]
            assert len(scripted.calls) == before + 2
        await eventually(lambda: in_flight(gateway) == 0)


async def test_names_cannot_smuggle_headers() -> None:
    async with stage("modern", back="modern") as (client, scripted, gateway, _):
        name = 'evil"\r\nx-evil: 1'
        scripted.more_tools.append(name)
        state = gateway.proxy.state
        assert state is not None
        state.backends["ns/a"].nudge()
        async with asyncio.timeout(10):
            while f"a_{name}" not in gateway.proxy.state.table["/mcp"].tools:  # type: ignore[union-attr] # noqa: ASYNC110
                await asyncio.sleep(0.01)
        body, headers = client.request("tools/call", {"name": f"a_{name}"})
        headers["mcp-name"] = "=?base64?" + _base64(f"a_{name}") + "?="
        before = taken(gateway)
        answer = await client.post(body, headers)
        assert answer.message is not None
        assert "result" in answer.message
        assert taken(gateway) == before + 1
        assert "x-evil" not in scripted.calls[-1].headers
        assert scripted.calls[-1].headers["mcp-name"] == "=?base64?" + _base64(name) + "?="
        assert scripted.calls[-1].params["name"] == name


def _base64(text: str) -> str:
    import base64  # noqa: PLC0415

    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("front", BOTH)
async def test_a_swap_fails_no_call(front: Front, eventually: Eventually) -> None:
    async with stage(front) as (client, scripted, gateway, served):
        answers = []
        ended = asyncio.Event()

        async def work() -> None:
            while not ended.is_set():
                answers.append(await client.call("a_text"))

        working = [asyncio.create_task(work()) for _ in range(4)]
        holding = asyncio.create_task(client.call("a_hold"))
        for round_ in range(6):
            headers = [{"name": "x-round", "value": str(round_)}]
            urls = {"a": served.url, **({"b": served.url} if round_ % 2 else {})}
            await gateway.proxy.apply(make_config(urls, revision=f"r{round_}", server={"headers": headers}))
            await eventually(partial(_has_arrived, scripted, str(round_), answers, len(answers) + 3))
        ended.set()
        await asyncio.gather(*working)
        scripted.go.set()
        answers.append(await holding)
        assert len(answers) > 10
        assert all(a.message is not None and "result" in a.message for a in answers)
        assert scripted.calls[-1].headers["x-round"] == "5"


def _has_arrived(scripted: Scripted, round_: str, answers: list[Any], count: int) -> bool:
    """Calls are made with the settings of this round, and so many have been answered, however busy the machine is."""
    return scripted.calls[-1].headers.get("x-round") == round_ and len(answers) >= count


async def test_credentials_and_traces_go_where_they_belong() -> None:
    headers = [{"name": "Authorization", "value": "Bearer of-the-server"}]
    async with stage("modern", server={"headers": headers}) as (client, scripted, _, __):
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        body, own = client.request("tools/call", {"name": "a_text"})
        await client.post(body, {**own, "authorization": "Bearer of-the-client", "traceparent": trace, "cookie": "a=b"})
        sent = scripted.calls[-1].headers
        assert sent["authorization"] == "Bearer of-the-server"
        assert sent["traceparent"] == trace
        assert "cookie" not in sent
