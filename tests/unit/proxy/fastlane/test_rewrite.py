"""Bodies taken apart and put together again mean what they meant."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator_proxy.fastlane.meta import ModernMetas, legacy_meta, plain_meta
from mcp_operator_proxy.fastlane.rewrite import (
    Request,
    answer,
    call_body,
    call_head,
    cancelled,
    error_body,
    header_value,
    joined,
    members,
    parse,
    plain_error,
    progress_token,
    result_body,
    same_token,
    tool_result,
    without,
)
from mcp_operator_proxy.fastlane.sse import Events, event

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=12,
)
OBJECT = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), JSON, max_size=4)
IDS = st.integers(-(2**60), 2**60) | st.text(
    st.characters(codec="ascii", exclude_characters='"\\', categories=["L", "N"])
)
STAMP = b'"io.modelcontextprotocol/serverInfo":{"name":"p"}'
CONNECTION = frozenset({"progressToken", "io.modelcontextprotocol/serverInfo"})


@given(IDS, st.text(st.characters(exclude_categories=["Cs"])), OBJECT, OBJECT, st.booleans())
def test_a_call_is_sent_on_as_it_was(
    request_id: Any, name: str, arguments: dict[str, Any], meta: dict[str, Any], plain: bool
) -> None:
    params = {"arguments": arguments, "_meta": meta, "name": name}
    message = {"method": "tools/call", "params": params, "id": request_id, "jsonrpc": "2.0"}
    body = json.dumps(message, indent=2 if plain else None, ensure_ascii=plain).encode()
    request = parse(body)
    assert request is not None
    assert json.loads(request.id) == request_id
    assert request.name == name
    sent = json.loads(call_body(7, call_head("tools/call", "own"), request.arguments, request.meta))
    assert sent.pop("id") == 7
    expected = {"name": "own", "arguments": arguments, **({"_meta": meta} if meta else {})}
    assert sent == {"jsonrpc": "2.0", "method": "tools/call", "params": expected}


@given(OBJECT, st.sets(st.text(max_size=8)))
def test_members_are_left_out_and_put_in(value: dict[str, Any], keys: set[str]) -> None:
    text = json.dumps(value).encode()
    kept = {key: item for key, item in value.items() if key not in keys}
    found = without(text, frozenset(keys), b'"\\u0000new":1')
    assert found is not None
    assert json.loads(found) == {**kept, "\0new": 1}
    assert json.loads(without(text, frozenset(keys)) or b"") == kept
    assert json.loads(joined(members(text) or {})) == value


@given(OBJECT, st.booleans() | st.none(), OBJECT, st.booleans())
def test_a_plain_result_is_what_the_era_wants(
    structured: dict[str, Any], failed: bool | None, meta: dict[str, Any], modern: bool
) -> None:
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": "é"}],
        "structuredContent": structured,
        "resultType": "complete",
        "_meta": {**meta, "progressToken": 1, "io.modelcontextprotocol/serverInfo": {"name": "backend"}},
    }
    if failed is not None:
        result["isError"] = failed
    spliced = tool_result(json.dumps(result).encode(), STAMP if modern else b"", CONNECTION)
    assert spliced is not None
    assert spliced[1] == (failed is True)
    made = json.loads(spliced[0])
    own = {k: v for k, v in meta.items() if k not in CONNECTION}
    stamped = {**own, "io.modelcontextprotocol/serverInfo": {"name": "p"}} if modern else own
    expected = {key: value for key, value in result.items() if key not in ("_meta", "resultType")}
    if modern:
        expected["resultType"] = "complete"
    assert made == {**expected, **({"_meta": stamped} if stamped else {})}


@pytest.mark.parametrize(
    "result",
    [
        b"[]",
        b"{}",
        b'{"content":{}}',
        b'{"content":[{"type":"resource_link","uri":"a://b","name":"b"}]}',
        b'{"content":[{"type":"text","text":"x","annotations":{}}]}',
        b'{"content":[{"type":"text"}]}',
        b'{"content":[],"more":1}',
        b'{"content":[],"resultType":"input_required"}',
        b'{"content":[],"structuredContent":[1]}',
        b'{"content":[],"isError":"yes"}',
        b'{"content":[],"_meta":[]}',
        b'{"content":[],"_meta":null}',
    ],
)
def test_other_results_are_left_to_the_full_path(result: bytes) -> None:
    assert tool_result(result, STAMP, CONNECTION) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]',
        b'{"jsonrpc":"1.0","id":1,"method":"tools/list"}',
        b'{"id":1,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1.5,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":true,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":[1],"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":"a\\u0022","method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","more":1}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"more":1}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":1}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":[]}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":null}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":1}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","requestState":"s"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"b":NaN}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\\ud800"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"b":"\xff"}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":' + b"[" * 100_000,
    ],
)
def test_other_requests_are_left_to_the_full_path(body: bytes) -> None:
    assert parse(body) is None


def test_of_a_name_that_comes_twice_the_last_is_checked_and_sent() -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"good","name":"bad","arguments":{}}}'
    request = parse(body)
    assert request is not None
    assert request.name == json.loads(body)["params"]["name"] == "bad"
    assert b"good" not in call_body(1, call_head("tools/call", "own"), request.arguments, None)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_header_value_is_one_line_of_ascii(name: str) -> None:
    value = header_value(name)
    assert value.isascii()
    assert not set(value) & {0, 10, 13}


def test_cancellations_name_a_request() -> None:
    assert cancelled(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}') == b"5"
    assert (
        cancelled(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a","reason":"x"}}')
        == b'"a"'
    )
    escaped = rb'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"\u00e9"}}'
    assert cancelled(escaped) == '"é"'.encode()
    assert cancelled(escaped.replace(b"00e9", b"d800")) is None
    assert cancelled(b'{"jsonrpc":"2.0","method":"notifications/cancelled"}') is None
    assert cancelled(b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"requestId":5}}') is None
    assert cancelled(b"{") is None


def test_answers_and_errors() -> None:
    found = answer(b'{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"m","data":[1]}}')
    assert found is not None
    assert plain_error(found.error) == (-1, b'{"code":-1,"message":"m","data":[1]}')  # type: ignore[arg-type]
    assert plain_error(b'{"code":-1,"message":"m","data":null,"more":1}') == (-1, b'{"code":-1,"message":"m"}')
    assert plain_error(b'{"code":"x"}') is None
    assert answer(b"<html>") is None
    assert json.loads(result_body(b'"a"', b"{}")) == {"jsonrpc": "2.0", "id": "a", "result": {}}
    assert json.loads(error_body(b"1", b'{"code":1}')) == {"jsonrpc": "2.0", "id": 1, "error": {"code": 1}}
    assert progress_token(b'{"progressToken":"t"}') == b'"t"'
    assert progress_token(b'{"a":"\\"progressToken\\""}') is None
    assert members(b"[]") is None


def test_meta_of_each_era() -> None:
    level = b'{"io.modelcontextprotocol/logLevel":"info","progressToken":1,"a":2}'
    assert json.loads(plain_meta(level) or b"") == {"a": 2}
    assert plain_meta(None) is None
    made = json.loads(legacy_meta(level, b'"p":1', "error") or b"")
    assert made == {"progressToken": 1, "a": 2, "p": 1, "io.modelcontextprotocol/logLevel": "error"}
    prefix = "io.modelcontextprotocol/"
    modern = {f"{prefix}protocolVersion": "2026-07-28", f"{prefix}clientCapabilities": {"roots": {}}, "a": 1}
    metas = ModernMetas()
    read = metas.read(json.dumps(modern).encode(), "2026-07-28")
    assert read is not None
    sent = json.loads(read.sent)
    assert sent["a"] == 1
    assert sent[f"{prefix}clientInfo"]["name"] == "mcp-operator-proxy"
    assert sent[f"{prefix}clientCapabilities"] == {"roots": {}}
    assert metas.read(json.dumps(modern).encode(), "2026-07-28") is read
    for broken in ({}, {**modern, f"{prefix}protocolVersion": "1"}, {**modern, f"{prefix}clientCapabilities": 1}):
        assert metas.read(json.dumps(broken).encode(), "2026-07-28") is None


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1), max_size=6), st.data())
def test_events_come_whole_however_they_are_cut(texts: list[str], data: st.DataObject) -> None:
    end = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    stream = b": hello" + end + end
    for text in texts:
        stream += b"event: message" + end + b"data: " + text.encode() + end + end
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    events, found = Events(), []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        if start != stop:
            found += events.feed(stream[start:stop])
    found += events.feed(b"\n") if end == b"\r" else []
    assert [item.decode() for item in found] == texts


def test_an_event_of_several_lines_is_sent_on_as_one() -> None:
    events = Events()
    (data,) = events.feed(b'id: 7\ndata: {"a":\ndata: 1}\n\n')
    assert json.loads(data) == {"a": 1}
    assert events.last_id == b"7"
    (again,) = Events().feed(event(data))
    assert json.loads(again) == {"a": 1}


def test_a_request_shows_no_arguments_by_default() -> None:
    assert Request(b"1", "tools/call", "a").arguments is None


def test_progress_tokens_are_compared_by_their_characters() -> None:
    assert same_token(b"7", b"7")
    assert same_token(rb'"\u00e9\u003c"', '"é<"'.encode())
    assert not same_token(b'"7"', b"7")
    assert not same_token(b'"a"', b'"b"')
