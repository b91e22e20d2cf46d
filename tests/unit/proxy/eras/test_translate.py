"""Every method, in both directions."""

import copy
from typing import Any

import pytest
from mcp_types.methods import (
    CACHEABLE_METHODS,
    CLIENT_NOTIFICATIONS,
    CLIENT_REQUESTS,
    SERVER_NOTIFICATIONS,
    serialize_server_result,
    validate_client_request,
    validate_client_result,
)
from mcp_types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION

from mcp_operator_proxy.eras import translate

LEGACY, MODERN = LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION
CONNECTION = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {"roots": {}},
    "progressToken": 7,
}
META = {"vendor/x": 1, "traceparent": "00-a-b-01"}
TOOL = {"name": "t", "inputSchema": {"type": "object"}}

PARAMS: dict[str, dict[str, Any]] = {
    "tools/call": {"name": "t", "arguments": {"a": [1, None]}},
    "tools/list": {},
    "prompts/get": {"name": "p", "arguments": {"a": "b"}},
    "prompts/list": {"cursor": "2"},
    "resources/read": {"uri": "data://one"},
    "resources/list": {},
    "resources/templates/list": {},
    "completion/complete": {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "b"}},
}
RESULTS: dict[str, dict[str, Any]] = {
    "tools/call": {"content": [{"type": "text", "text": "t"}], "structuredContent": {"a": 1}, "isError": False},
    "tools/list": {"tools": [TOOL]},
    "prompts/get": {"messages": [{"role": "user", "content": {"type": "text", "text": "t"}}]},
    "prompts/list": {"prompts": [{"name": "p"}], "nextCursor": "3"},
    "resources/read": {"contents": [{"uri": "data://one", "text": "1"}]},
    "resources/list": {"resources": [{"uri": "data://one", "name": "one"}]},
    "resources/templates/list": {"resourceTemplates": [{"uriTemplate": "data://{x}", "name": "x"}]},
    "completion/complete": {"completion": {"values": ["b1"]}},
}
FORMS = {method for method, _ in (*CLIENT_REQUESTS, *CLIENT_NOTIFICATIONS, *SERVER_NOTIFICATIONS)}


def test_the_table_is_whole() -> None:
    both = {m for m, _ in CLIENT_REQUESTS if (m, LEGACY) in CLIENT_REQUESTS and (m, MODERN) in CLIENT_REQUESTS}
    assert both == PARAMS.keys() == RESULTS.keys()


@pytest.mark.parametrize("method", sorted(FORMS))
def test_which_methods_an_era_has(method: str) -> None:
    legacy_only = {
        "initialize",
        "logging/setLevel",
        "notifications/elicitation/complete",
        "notifications/initialized",
        "notifications/roots/list_changed",
        "ping",
        "resources/subscribe",
        "resources/unsubscribe",
    }
    modern_only = {"server/discover", "subscriptions/listen", "notifications/subscriptions/acknowledged"}
    assert translate.has_form(method, modern=False) is (method not in modern_only)
    assert translate.has_form(method, modern=True) is (method not in legacy_only)


@pytest.mark.parametrize("method", sorted(PARAMS))
def test_requests(method: str) -> None:
    own = PARAMS[method]
    more = {"requestState": "s", "inputResponses": {}}
    level = {"io.modelcontextprotocol/logLevel": "info"}
    given = {**own, **more, "_meta": {**CONNECTION, **META, **level}}
    before = copy.deepcopy(given)
    legacy = translate.request_for(given, modern=False)
    assert legacy == {**own, "_meta": META}
    assert translate.request_for(given, modern=True) == {**own, **more, "_meta": {**META, **level}}
    assert translate.request_for(own, modern=True, log_level="error")["_meta"] == {
        "io.modelcontextprotocol/logLevel": "error"
    }
    assert translate.request_for({**own, "_meta": CONNECTION}, modern=False) == own
    assert given == before
    validate_client_request(method, LEGACY, legacy)


@pytest.mark.parametrize("method", sorted(RESULTS))
def test_results(method: str) -> None:
    legacy = RESULTS[method]
    before = copy.deepcopy(legacy)
    modern = translate.result_for_modern(method, legacy)
    added = {"resultType": "complete"}
    if method in CACHEABLE_METHODS:
        added |= {"ttlMs": 0, "cacheScope": "private"}
    assert modern == {**legacy, **added}
    assert serialize_server_result(method, MODERN, modern).keys() == modern.keys()
    fresh = {**modern, **({"ttlMs": 50, "cacheScope": "public"} if method in CACHEABLE_METHODS else {})}
    assert translate.result_for_modern(method, fresh) is fresh
    stamped = {**fresh, "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "1"}, **META}}
    assert translate.result_for_legacy(method, stamped) == {**legacy, "_meta": META}
    assert translate.result_for_legacy(method, legacy) is legacy
    assert translate.result_for_modern(method, stamped) == {**fresh, "_meta": META}
    assert legacy == before


def test_a_result_that_asks_is_not_called_complete() -> None:
    asks = {"resultType": "input_required", "requestState": "s"}
    assert translate.result_for_modern("resources/read", asks) is asks
    task = {"resultType": "task", "taskId": "1"}
    assert translate.result_for_modern("tools/call", task) is task


@pytest.mark.parametrize(
    ("structured", "content", "shown"),
    [
        ({"a": 1}, [], {"content": [], "structuredContent": {"a": 1}}),
        (None, [], {"content": [], "structuredContent": None}),
        ([1, 2], [], {"content": [{"type": "text", "text": "[1,2]"}]}),
        (3, [{"type": "text", "text": "three"}], {"content": [{"type": "text", "text": "three"}]}),
    ],
)
def test_structured_content_of_any_kind(structured: Any, content: Any, shown: Any) -> None:
    given = {"content": content, "structuredContent": structured}
    assert translate.result_for_legacy("tools/call", given) == shown
    assert translate.result_for_modern("tools/call", given)["structuredContent"] == structured


def test_output_schemas_of_any_kind() -> None:
    shaped = {**TOOL, "outputSchema": {"type": "object"}}
    other = {**TOOL, "outputSchema": {"type": "array"}}
    given = {"tools": [TOOL, shaped, other]}
    shown = translate.result_for_legacy("tools/list", given)
    assert shown == {"tools": [TOOL, shaped, TOOL]}
    serialize_server_result("tools/list", LEGACY, shown)
    assert translate.result_for_legacy("tools/list", {"tools": [TOOL, shaped]})["tools"][1] is shaped


FORM = {"mode": "form", "message": "m", "requestedSchema": {"type": "object", "properties": {}}}
URL = {"mode": "url", "message": "m", "url": "https://example.org/login"}
SAMPLE = {"messages": [], "maxTokens": 5}


@pytest.mark.parametrize(
    ("method", "params", "modern"),
    [
        ("elicitation/create", {**FORM, "task": {"ttl": 1}, "_meta": {"progressToken": 1}}, FORM),
        ("elicitation/create", {**URL, "elicitationId": "7", "_meta": {"v/x": 1}}, {**URL, "_meta": {"v/x": 1}}),
        ("sampling/createMessage", SAMPLE, SAMPLE),
        ("roots/list", None, None),
        ("roots/list", {"_meta": {"progressToken": 2}}, None),
    ],
)
def test_questions(method: str, params: Any, modern: Any) -> None:
    question = translate.question_for_modern(method, params)
    assert question == ({"method": method} if modern is None else {"method": method, "params": modern})
    asked = {"resultType": "input_required", "inputRequests": {"q": question}}
    serialize_server_result("tools/call", MODERN, asked)
    back = translate.question_for_legacy(question, "id-1")
    if params is not None and params.get("mode") == "url":
        assert back["params"] == {**modern, "elicitationId": "id-1"}
    else:
        assert back == question


@pytest.mark.parametrize(
    ("method", "params", "declared", "code"),
    [
        ("elicitation/create", FORM, {"elicitation": {}}, None),
        ("elicitation/create", FORM, {"elicitation": {"form": {}}}, None),
        ("elicitation/create", {"message": "m"}, {"elicitation": {"form": {}, "url": {}}}, None),
        ("elicitation/create", FORM, {"elicitation": {"url": {}}}, -32602),
        ("elicitation/create", URL, {"elicitation": {"url": {}}}, None),
        ("elicitation/create", URL, {"elicitation": {}}, -32602),
        ("elicitation/create", URL, {"elicitation": {"form": {}}}, -32602),
        ("elicitation/create", FORM, {"sampling": {}}, -32601),
        ("sampling/createMessage", SAMPLE, {"sampling": {}}, None),
        ("sampling/createMessage", {**SAMPLE, "tools": [TOOL]}, {"sampling": {}}, -32602),
        ("sampling/createMessage", {**SAMPLE, "tools": [TOOL]}, {"sampling": {"tools": {}}}, None),
        ("sampling/createMessage", SAMPLE, {}, -32601),
        ("roots/list", None, {"roots": {"listChanged": True}}, None),
        ("roots/list", None, None, -32601),
        ("tasks/list", None, {"roots": {}}, -32601),
    ],
)
def test_refusals(method: str, params: Any, declared: Any, code: int | None) -> None:
    refused = translate.refusal(method, params, declared)
    assert (refused and refused["code"]) == code


@pytest.mark.parametrize(
    ("declared", "may"), [(None, False), ({}, False), ({"experimental": {}}, False), ({"roots": {}}, True)]
)
def test_who_may_be_asked(declared: Any, may: bool) -> None:
    assert translate.may_be_asked(declared) is may


def test_required_capabilities() -> None:
    def needs(method: str, params: Any) -> Any:
        return translate.required_capabilities({"method": method, "params": params})

    assert needs("elicitation/create", URL) == {"elicitation": {"url": {}}}
    assert needs("elicitation/create", {"message": "m"}) == {"elicitation": {"form": {}}}
    assert needs("sampling/createMessage", SAMPLE) == {"sampling": {}}
    assert needs("sampling/createMessage", {"tools": [TOOL]}) == {"sampling": {"tools": {}}}
    assert needs("roots/list", None) == {"roots": {}}


def test_elicitations_of_an_error() -> None:
    item = {**URL, "elicitationId": "7", "extra": 1}
    assert translate.elicitations_of({"elicitations": [item, {"url": "x"}, 3]}) == [{**URL, "elicitationId": "7"}]
    for broken in (None, [], {"elicitations": None}, {"elicitations": {}}):
        assert translate.elicitations_of(broken) == []


def test_answers_are_the_same_in_both_eras() -> None:
    answers = {
        "elicitation/create": {"action": "accept", "content": {"a": 1}},
        "sampling/createMessage": {"role": "assistant", "content": {"type": "text", "text": "t"}, "model": "m"},
        "roots/list": {"roots": [{"uri": "file:///a"}]},
    }
    for method, answer in answers.items():
        validate_client_result(method, LEGACY, answer)
    call = {"name": "t", "requestState": "s", "inputResponses": answers, "_meta": CONNECTION}
    validate_client_request("tools/call", MODERN, call)
