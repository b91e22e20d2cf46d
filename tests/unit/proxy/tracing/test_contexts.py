"""Whose context is whose: header and `_meta`, sampling, what goes on and what does not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator_proxy.tracing.context import Context, parted, read, spliced, written
from mcp_operator_proxy.tracing.spans import Tracer
from support.rawclient import Front
from support.waiting import Eventually
from unit.proxy.tracing.harness import parent_of, stage

A = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
B = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CALL: dict[str, Any] = {"name": "a_text", "arguments": {}}
BOTH = pytest.mark.parametrize("lane", [True, False], ids=["lane", "full"])


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (A, True),
        ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", True),
        (A + "-more", False),
        (A.replace("00-", "ff-", 1), False),
        ("00-" + "0" * 32 + "-b7ad6b7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01", False),
        (A.upper(), False),
        (A[:-1], False),
        ("", False),
        (None, False),
        (["x"], False),
        (A + "\r\nx: y", False),
    ],
)
def test_what_a_traceparent_is(text: Any, valid: bool) -> None:
    assert (read(text) is not None) == valid


def test_what_cannot_be_a_header_is_no_state() -> None:
    assert read(A, "a=b\r\nx: y") == read(A)
    assert read(A, 5) == read(A)
    assert read(A, "a=b,c=d") == Context(int(A[3:35], 16), int(A[36:52], 16), 1, "a=b,c=d")


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 3))
def test_written_is_read(trace: int, span: int, flags: int) -> None:
    assert read(written(trace, span, flags)) == Context(trace, span, flags)


@given(st.dictionaries(st.sampled_from(["traceparent", "tracestate", "a", "é"]), st.text() | st.integers()))
def test_meta_is_parted_and_put_together_again(meta: dict[str, Any]) -> None:
    carried, rest = parted(json.dumps(meta).encode())
    kept = {key: value for key, value in meta.items() if not key.startswith("trace")}
    assert json.loads(rest) == kept
    if carried is None:
        assert kept == meta
    else:
        assert json.loads(spliced(rest, carried.members)) == meta


def test_the_ratio_is_that_of_the_traces() -> None:
    tracer = Tracer(0.25, lambda _: None)
    sampled = sum(tracer.begin(None, None).sampled for _ in range(4000))
    assert 800 < sampled < 1200
    assert not any(Tracer(0.0, lambda _: None).begin(None, None).sampled for _ in range(100))
    assert all(Tracer(1.0, lambda _: None).begin(None, None).sampled for _ in range(100))


@BOTH
@pytest.mark.parametrize("back", ["legacy", "modern"])
async def test_meta_is_the_parent_and_the_header_is_linked(back: Front, lane: bool, eventually: Eventually) -> None:
    async with stage("modern", back, lane=lane) as on:
        meta = {"traceparent": B, "tracestate": "v=1", "baggage": "user=alice", "x.example/y": 1}
        body, headers = on.client.request("tools/call", CALL, meta)
        await on.client.post(body, {**headers, "traceparent": A, "baggage": "user=alice"})
        await eventually(lambda: len(on.collector.of(B[3:35])) == 2)
        got, asked = on.collector.of(B[3:35])
        assert got.parent == B[36:52]
        assert got.links == [(A[3:35], A[36:52])]
        assert (got.state, asked.state) == ("v=1", "v=1")
        sent = on.scripted.calls[-1]
        assert parent_of(sent) == (got.trace, asked.id, "01")
        assert sent.headers["tracestate"] == sent.params["_meta"]["tracestate"] == "v=1"
        assert sent.params["_meta"]["x.example/y"] == 1
        assert "baggage" not in sent.headers
        assert "baggage" not in sent.params["_meta"]


@BOTH
async def test_the_lines_of_a_tracestate_are_one(lane: bool, eventually: Eventually) -> None:
    async with stage(lane=lane) as on:
        body, headers = on.client.request("tools/call", CALL)
        lines = [
            *on.client.headers.items(),
            *headers.items(),
            ("traceparent", A),
            ("tracestate", "v=1"),
            ("tracestate", "w=2"),
        ]
        content = json.dumps({"jsonrpc": "2.0", **body})
        assert (await on.client.http.post(on.client.url, content=content, headers=lines)).status_code == 200
        await eventually(lambda: len(on.collector.of(A[3:35])) == 2)
        assert {span.state for span in on.collector.of(A[3:35])} == {"v=1,w=2"}
        sent = on.scripted.calls[-1]
        assert sent.headers["tracestate"] == sent.params["_meta"]["tracestate"] == "v=1,w=2"


@BOTH
async def test_what_is_no_context_is_as_if_it_had_not_come(lane: bool, eventually: Eventually) -> None:
    async with stage(lane=lane) as on:
        await eventually(lambda: len(on.collector.spans) == 2)
        body, headers = on.client.request("tools/call", CALL, {"traceparent": {"no": "text"}, "tracestate": 5})
        answer = await on.client.post(body, {**headers, "traceparent": "nonsense"})
        assert answer.message is not None
        assert "result" in answer.message
        await eventually(lambda: len(on.collector.spans) == 4)
        (got,) = [span for span in on.collector.spans[2:] if span.is_server]
        assert got.parent == ""
        assert parent_of(on.scripted.calls[-1])[0] == got.trace


@BOTH
@pytest.mark.parametrize(("front", "back"), [("legacy", "legacy"), ("legacy", "modern"), ("modern", "legacy")])
async def test_nothing_is_recorded_of_what_is_not_sampled(
    front: Front,
    back: Front,
    lane: bool,
    eventually: Eventually,
) -> None:
    async with stage(front, back, lane=lane, tracing={"sampleRatio": 0}) as on:
        await on.client.call("a_text")
        trace, _, flags = parent_of(on.scripted.calls[-1])
        assert (len(trace), flags) == (32, "00")
        _, __, sent = await on.traced(eventually, "tools/call", CALL, flags="00")
        assert parent_of(sent[0])[1:] == ("00f067aa0ba902b7", "00")
        _, spans, sent = await on.traced(eventually, "tools/call", CALL)  # a sampled parent is heeded
        assert len(spans) == 2
        assert parent_of(sent[0])[2] == "01"
        assert {span.trace for span in on.collector.spans} == {spans[0].trace}


@BOTH
@pytest.mark.parametrize(("front", "back"), [("legacy", "legacy"), ("legacy", "modern"), ("modern", "modern")])
async def test_without_tracing_a_context_goes_on_as_it_came(front: Front, back: Front, lane: bool) -> None:
    async with stage(front, back, lane=lane) as on:
        await on.gateway.proxy.apply(on.config(revision="off"))
        body, headers = on.client.request("tools/call", CALL, {"traceparent": B, "tracestate": "v=1", "baggage": "c=d"})
        await on.client.post(body, {**headers, "traceparent": A, "tracestate": "w=2"})
        sent = on.scripted.calls[-1]
        assert (sent.headers["traceparent"], sent.headers["tracestate"]) == (A, "w=2")
        meta = sent.params["_meta"]
        assert (meta["traceparent"], meta["tracestate"]) == (B, "v=1")
        assert "baggage" not in meta
        await on.client.call("a_text")
        assert "traceparent" not in on.scripted.calls[-1].headers
        assert "traceparent" not in on.scripted.calls[-1].params.get("_meta", {})
