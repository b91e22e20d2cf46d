# ruff: noqa: SIM117 - nested, in the order in which they start
"""The depth of JSON, against a recursive reference; the limits of a request's body on every way in."""

import json
from typing import Any

import pytest
from fastmcp import FastMCP
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator_proxy.depth import deeper
from support.backends import ServedMCP, client
from support.gateway import make_config, running_gateway

HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
LEAVES = st.none() | st.booleans() | st.integers() | st.text(alphabet='[]{}"\\ab,:\n☃', max_size=12)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='[{"\\x', max_size=4), inner, max_size=4)
    ),
    max_leaves=40,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@given(VALUES, st.booleans(), st.integers(0, 8))
def test_as_deep_as_a_parser_finds_it(value: Any, ascii_only: bool, most: int) -> None:
    assert deeper(json.dumps(value, ensure_ascii=ascii_only).encode(), most) == (depth(value) > most)


@pytest.mark.parametrize(
    ("body", "is_deeper"),
    [
        (b"[" * 129, True),
        (b"[" * 128, False),
        (b'{"a":' * 129, True),
        (b"[]," * 100_000, False),
        (b'{"a":"' + b"[" * 100_000 + b'"}', False),
        (b'{"a":"\\\\"' + b"[" * 200, True),
        (b'{"a":"\\""' + b"[" * 200, True),
        (b"]" * 1000 + b"[" * 1128, False),
        (b"[]" * 65_535 + b"[" * 129, True),
    ],
)
def test_at_the_edges(body: bytes, is_deeper: bool) -> None:
    assert deeper(body, 128) == is_deeper


def tools() -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("t")

    @mcp.tool
    def echo(value: Any) -> int:
        return len(json.dumps(value))

    return mcp


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize("path", ["/mcp", "/mcp/messages?session_id=x"])
async def test_a_body_beyond_the_limits_is_refused_before_anything_parses_it(path: str) -> None:
    limits = {"maxBytes": 2000, "maxDepth": 10}
    async with ServedMCP(tools()) as served, running_gateway(make_config({"a": served.url}, limits=limits)) as running:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        large = {**message, "params": {"name": "a_echo", "arguments": {"value": "x" * 2000}}}
        deep = {**message, "params": {"name": "a_echo", "arguments": {"value": nested(8)}}}
        answer = await running.http.post(running.base + path, json=large, headers=HEADERS)
        assert (answer.status_code, answer.json()["error"]["message"]) == (413, "the body is larger than 2000 bytes")
        answer = await running.http.post(running.base + path, json=deep, headers=HEADERS)
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, "the body is nested more than 10 deep")
        assert "tools/call" not in served.methods


@pytest.mark.parametrize("front", ["legacy", "auto"])
async def test_a_body_at_the_limits_is_taken(front: str) -> None:
    limits = {"maxBytes": 4000, "maxDepth": 12}
    async with ServedMCP(tools()) as served, running_gateway(make_config({"a": served.url}, limits=limits)) as running:
        async with client(running.url, front) as through:
            for _ in range(2):
                assert (await through.call_tool("a_echo", {"value": nested(9)})).data == 18
            assert (await through.call_tool("a_echo", {"value": "[" * 1000})).data == 1002
