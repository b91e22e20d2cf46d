"""Both legs of a call in the trace of its client, whichever way the call takes and whichever era its ends are of."""

import json
from typing import Any

import pytest

from mcp_operator_proxy.tracing.spans import MAX_TEXT
from support.collector import Seen
from support.rawclient import Front
from support.waiting import Eventually
from unit.proxy.tracing.harness import parent_of, stage

ERAS: list[tuple[Front, Front]] = [(front, back) for front in ("legacy", "modern") for back in ("legacy", "modern")]
VERSIONS = {"legacy": "2025-11-25", "modern": "2026-07-28"}
PARENT = "00f067aa0ba902b7"
CALLS: list[tuple[str, dict[str, Any]]] = [
    *(("tools/call", {"name": f"a_{name}", "arguments": {}}) for name in ("text", "failed", "refused", "overloaded")),
    ("tools/call", {"name": "a_die", "arguments": {}}),
    ("prompts/get", {"name": "a_hello"}),
    ("resources/read", {"uri": "data://one"}),
]


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "full"])
@pytest.mark.parametrize(("front", "back"), ERAS)
async def test_one_trace(front: Front, back: Front, lane: bool, eventually: Eventually) -> None:
    async with stage(front, back, lane=lane) as on:
        leased = (front, back) == ("modern", "legacy")  # the full path's: see docs/fast-lane.md
        before = on.gateway.proxy.metrics.tallies.lane_answered
        for in_meta in (False, True):
            call = {"name": "a_text", "arguments": {"x": 1}}
            answer, spans, sent = await on.traced(eventually, "tools/call", call, in_meta=in_meta)
            assert answer.message is not None
            assert "result" in answer.message
            got, asked = spans
            assert (got.parent, asked.parent) == (PARENT, got.id)
            assert parent_of(sent[0]) == (got.trace, asked.id, "01")
            assert (got.is_server, asked.is_server) == (True, False)
        assert on.gateway.proxy.metrics.tallies.lane_answered == before + (2 if lane and not leased else 0)
    assert got.name == "tools/call a_text"
    assert asked.name == "tools/call text"
    common = {
        "mcp.method.name": "tools/call",
        "gen_ai.operation.name": "execute_tool",
        "network.transport": "tcp",
        "network.protocol.name": "http",
    }
    sessions = [found.attributes.pop("mcp.session.id", None) for found in (got, asked)]
    assert [session is not None for session in sessions] == [front == "legacy", back == "legacy"]
    assert not any(on.client.headers.get("mcp-session-id", "none") == session for session in sessions)
    assert got.attributes == {
        **common,
        "gen_ai.tool.name": "a_text",
        "mcp.protocol.version": VERSIONS[front],
        "jsonrpc.request.id": "r-1",
        "mcp_operator.route": "/mcp",
        "client.address": "127.0.0.1",
    }
    address, _, port = on.urls["a"].removeprefix("http://").removesuffix("/mcp").partition(":")
    assert asked.attributes == {
        **common,
        "gen_ai.tool.name": "text",
        "mcp.protocol.version": VERSIONS[back],
        "jsonrpc.request.id": str(sent[0].body["id"]),
        "mcp_operator.server": "ns/a",
        "server.address": address,
        "server.port": int(port),
    }
    assert got.about["service.name"] == "tools"
    assert got.about["service.instance.id"] == on.gateway.proxy.holder.instance
    assert 0 <= asked.seconds <= got.seconds


@pytest.mark.parametrize(("front", "back"), ERAS)
async def test_lane_and_full_path_tell_the_same(front: Front, back: Front, eventually: Eventually) -> None:
    async with stage(front, back, prefixes={"a": "a"}) as on:
        for method, params in CALLS:
            seen = []
            for lane in (True, False):
                on.gateway.proxy.lane.enabled = lane
                _, spans, __ = await on.traced(eventually, method, params)
                seen.append([_told(span) for span in spans])
            assert seen[0] == seen[1], params


def _told(span: Seen) -> Any:
    """All but what is another each time."""
    varies = () if span.is_server else ("jsonrpc.request.id", "mcp.session.id")
    attributes = {key: None if key in varies else value for key, value in span.attributes.items()}
    return span.name, span.kind, attributes, span.error, span.message


async def test_how_it_failed(eventually: Eventually) -> None:
    async with stage() as on:
        for tool, of_client, of_server in (
            ("a_failed", "tool_error", "tool_error"),
            ("a_refused", "-32602", "-32602"),
            ("a_overloaded", "-32603", "HTTPError"),
            ("a_die", "-32603", "ConnectionReset"),
        ):
            _, (got, asked), __ = await on.traced(eventually, "tools/call", {"name": tool, "arguments": {}})
            assert (got.attributes["error.type"], asked.attributes["error.type"]) == (of_client, of_server), tool
            assert got.error
            assert asked.error
            assert got.attributes.get("rpc.response.status_code") == (of_client if of_client[0] == "-" else None)
        assert got.message.startswith("server ns/a: ")


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "full"])
@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_what_a_server_was_shown_is_in_no_span(era: Front, lane: bool, eventually: Eventually) -> None:
    shown = "hunter2-hunter2"
    server = {"headers": [{"name": "x-key", "secret": {"file": "key"}}]}
    said = f"{'x' * (MAX_TEXT - 5)}{shown} at http://user:pass@files.example/ is no key"
    refusal = json.dumps({"jsonrpc": "2.0", "id": "?", "error": {"code": -32001, "message": said}}).replace('"?"', "ID")
    answers: dict[str, tuple[int, str, str | bytes]] = {"repeats": (200, "application/json", refusal)}
    async with stage(era, era, lane=lane, server=server, secrets={"key": shown}, answers=answers) as on:
        answer, spans, _ = await on.traced(eventually, "tools/call", {"name": "a_repeats", "arguments": {}})
        assert answer.message is not None
        assert answer.message["error"]["code"] == -32001
        assert [span.attributes["error.type"] for span in spans] == ["-32001", "-32001"]
        for span in spans:
            assert span.message.startswith("xxx")
            assert len(span.message) <= MAX_TEXT
            assert "hunt" not in span.message
            assert "pass" not in span.message


async def test_a_name_that_is_not_there_is_in_no_name_of_a_span(eventually: Eventually) -> None:
    async with stage() as on:
        _, (got,), sent = await on.traced(eventually, "tools/call", {"name": "a_nowhere", "arguments": {}})
        assert not sent
        assert got.name == "tools/call"
        assert got.attributes["gen_ai.tool.name"] == "a_nowhere"
        assert (got.attributes["error.type"], got.message) == ("-32602", "Unknown tool: a_nowhere")


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "full"])
async def test_lists_are_answered_here(lane: bool, eventually: Eventually) -> None:
    async with stage(lane=lane) as on:
        _, (got,), __ = await on.traced(eventually, "tools/list", {}, in_meta=True)
        assert (got.name, got.parent) == ("tools/list", PARENT)
        assert "gen_ai.operation.name" not in got.attributes


@pytest.mark.parametrize("front", ["legacy", "modern"])
async def test_a_session_that_is_gone_and_the_second_attempt(front: Front, eventually: Eventually) -> None:
    async with stage(front, "legacy") as on:
        on.scripted.forgotten = True
        answer, spans, _ = await on.traced(eventually, "tools/call", {"name": "a_text", "arguments": {}})
        assert answer.message is not None
        assert "result" in answer.message
        got, *asked = spans
        assert len(asked) == 2
        assert {one.parent for one in asked} == {got.id}
        assert [one.attributes.get("error.type") for one in sorted(asked, key=lambda one: not one.error)][1] is None
        assert not got.error


async def test_what_the_full_path_takes_over_stays_in_its_trace(eventually: Eventually) -> None:
    async with stage("legacy", "modern") as on:
        on.scripted.answers["read_only"] = (200, "application/json", b"{")
        on.scripted.hold_once = ""
        handed = on.gateway.proxy.metrics.tallies.lane_handed_over
        answer, spans, sent = await on.traced(eventually, "tools/call", {"name": "a_asks", "arguments": {}})
        assert on.gateway.proxy.metrics.tallies.lane_handed_over == handed + 1
        assert answer.message is not None
        got, *asked = spans
        assert got.parent == PARENT
        assert [one.parent for one in asked] == [got.id] * len(asked)
        assert {parent_of(one)[0] for one in sent} == {got.trace}
