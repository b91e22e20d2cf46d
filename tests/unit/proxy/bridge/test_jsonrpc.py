"""Messages: what is one, and that nothing is lost or added on the way."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator_proxy.bridge import jsonrpc
from mcp_operator_proxy.bridge.jsonrpc import InvalidMessage, Kind, decode, encode

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"jsonrpc":"2.0","id":1,"method":"ping"}', Kind.REQUEST),
        ('{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{}}', Kind.REQUEST),
        ('{"jsonrpc":"2.0","method":"notifications/initialized"}', Kind.NOTIFICATION),
        ('{"jsonrpc":"2.0","id":1,"result":{}}', Kind.RESPONSE),
        ('{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}', Kind.RESPONSE),
        (' {"jsonrpc":"2.0","id":1,"result":{}} \r', Kind.RESPONSE),
    ],
)
def test_kinds(text: str, kind: Kind) -> None:
    assert decode(text.encode()) == (kind, json.loads(text))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b'{"jsonrpc":"2.0","id":1,"result":{}} x', "not JSON"),
        (b'{"jsonrpc":"2.0","id":1,"result":Infinity}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"9" * 10_000, "not JSON"),
        (b"\xff", "invalid UTF-8"),
        (b"[]", "batch"),
        (b"null", "not a JSON-RPC 2.0 object"),
        (b'{"jsonrpc":"1.0","id":1,"result":{}}', "not a JSON-RPC 2.0 object"),
        (b'{"jsonrpc":"2.0","id":true,"method":"x"}', "string or an integer"),
        (b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', "one of result and error"),
        (b'{"jsonrpc":"2.0","result":{}}', "needs an id"),
    ],
)
def test_what_is_no_message(data: bytes, says: str) -> None:
    with pytest.raises(InvalidMessage, match=says):
        decode(data)


@given(JSON_VALUES)
def test_a_message_survives_and_is_one_line(value: Any) -> None:
    message = jsonrpc.result(1, {"value": value})
    data = encode(message)
    assert decode(data)[1] == message
    assert len(data.decode().splitlines()) == 1, "by any reader's idea of a line"


def test_a_lone_surrogate_survives() -> None:
    assert decode(encode(jsonrpc.result(1, {"x": "\ud83d ü"})))[1]["result"] == {"x": "\ud83d ü"}


@given(st.binary(max_size=40))
def test_decode_never_fails_in_another_way(data: bytes) -> None:
    with contextlib.suppress(InvalidMessage):
        decode(data)
