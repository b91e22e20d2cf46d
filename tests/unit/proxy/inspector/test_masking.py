"""What is shown of a message, and where two legs differ."""

import json
from typing import Any

import pytest

from mcp_operator_proxy.inspector.masking import MASK, SHOWN_MOST, looks_secret, masked, shown
from mcp_operator_proxy.inspector.rewrites import MOST, rewrites


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("password", True), ("userPassword", True), ("passwd", True), ("passphrase", True), ("client_secret", True),
        ("access_token", True), ("refreshToken", True), ("token", True), ("apiKey", True), ("api-key", True),
        ("x-api-key", True), ("Authorization", True), ("credentials", True), ("Set-Cookie", True), ("private_key", True),
        ("otp", True), ("progressToken", False), ("maxTokens", False), ("input_tokens", True), ("name", False),
        ("path", False), ("author", False), ("key", False), ("passenger", False), ("compass", False),
    ],
)  # fmt: skip
def test_names_that_look_like_secrets(name: str, expected: bool) -> None:
    assert looks_secret(name) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": {"password": "x"}}, {"a": {"password": MASK}}),
        ({"list": [{"token": {"deep": 1}}]}, {"list": [{"token": MASK}]}),
        ({"password": None, "token": True, "secret": ""}, {"password": None, "token": True, "secret": ""}),
        ({"token": 7}, {"token": MASK}),
        ({"text": '{"password": "x", "a": 1}'}, {"text": f'{{"password": "{MASK}", "a": 1}}'}),
        ({"text": '{"a":1}'}, {"text": '{"a":1}'}),
        ({"text": '\n {"password": "x"}'}, {"text": f'{{"password": "{MASK}"}}'}),
        ({"text": '["hunter2\\u002dhunter2"]'}, {"text": f'["{MASK}"]'}),
        ({"text": "a password"}, {"text": "a password"}),
        (
            {"inputSchema": {"properties": {"password": {"type": "string"}}}},
            {"inputSchema": {"properties": {"password": {"type": "string"}}}},
        ),
        ({"properties": {"a": {"default": 1, "token": "x"}}}, {"properties": {"a": {"default": 1, "token": MASK}}}),
        ({"echo": "it is hunter2-hunter2!"}, {"echo": f"it is {MASK}!"}),
        ({"hunter2-hunter2": 1}, {MASK: 1}),
        ("short", "short"),
    ],
)
def test_masks(value: Any, expected: Any) -> None:
    assert masked(value, ("hunter2-hunter2", "short", "")[:1]) == expected


def test_a_long_message_is_cut_after_it_was_masked() -> None:
    long = json.dumps({"password": "p" * 100, "text": "x" * SHOWN_MOST}).encode()
    value, truncated = shown([long], len(long), ())
    assert truncated
    assert isinstance(value, str)
    assert len(value.encode()) <= SHOWN_MOST
    assert value.startswith('{"password": "•••"')


@pytest.mark.parametrize(
    ("messages", "size", "expected"),
    [
        ([], 0, (None, False)),
        ([b'{"a":1}'], 7, ({"a": 1}, False)),
        ([b'{"a":1}', b'{"b":2}'], 14, ([{"a": 1}, {"b": 2}], False)),
        (None, 300_000, ("(300000 bytes: too much to be kept)", True)),
        ([b"<html>"], 6, ("(6 bytes that are not JSON)", False)),
        ([b"[" * 100_000], 100_000, ("(100000 bytes that are not JSON)", False)),
    ],
    ids=["nothing", "one", "several", "large", "html", "deep"],
)
def test_shown(messages: list[bytes] | None, size: int, expected: Any) -> None:
    assert shown(messages, size, ()) == expected


ASKED = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "calc_add", "arguments": {"a": [1, 2]}}}


@pytest.mark.parametrize(
    ("client", "backend", "expected"),
    [
        ((ASKED, {"id": 1}), (ASKED, {"id": 1}), []),
        ((ASKED, None), (None, None), []),
        (
            (ASKED, {"id": 1, "result": {}}),
            ({**ASKED, "id": 9, "params": {"name": "add", "arguments": {"a": [1, 3]}}}, {"id": 9, "result": {}}),
            [
                ("request.id", 1, 9),
                ("request.params.name", "calc_add", "add"),
                ("request.params.arguments.a[1]", 2, 3),
                ("response.id", 9, 1),
            ],
        ),
        (
            ({"params": {}}, None),
            ({"params": {"_meta": {"io.x/y": 1}}}, None),
            [("request.params._meta", None, {"io.x/y": 1})],
        ),
        (
            ({"a": {"io.x/y": 1}}, None),
            ({"a": {"io.x/y": True}}, None),
            [('request.a["io.x/y"]', 1, True)],
        ),
        (({}, [{"method": "progress"}, {"id": 1}]), ({}, {"id": 2}), [("response.id", 2, 1)]),
        (("(cut", {"id": 1}), ({"id": 2}, {"id": 2}), [("response.id", 2, 1)]),
    ],
    ids=["same", "no-backend", "call", "added", "odd-name", "stream", "cut"],
)
def test_rewrites(client: Any, backend: Any, expected: list[Any]) -> None:
    assert [(one.path, one.before, one.after) for one in rewrites(client, backend)] == expected


def test_no_more_than_so_many_rewrites_are_told() -> None:
    many = {str(n): n for n in range(MOST * 2)}
    assert len(rewrites((many, None), ({}, None))) == MOST
