"""Messages of one protocol era as the other era writes them. Pure, on the JSON objects of the wire.

What needs no change is returned as it is, the same object, so the common case costs a few look-ups. Nothing given is changed.

Sources: the schemas of 2025-11-25 and 2026-07-28, and their differences: SEP-2322 (multi-round-trip requests instead of
requests from the server), SEP-2549 (`ttlMs`, `cacheScope`), SEP-2567 and 2575 (no session, no handshake: `_meta` on each request).
"""

import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias, TypeGuard

from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    INVALID_PARAMS,
    LOG_LEVEL_META_KEY,
    METHOD_NOT_FOUND,
    PROTOCOL_VERSION_META_KEY,
    SERVER_INFO_META_KEY,
)
from mcp_types.methods import CACHEABLE_METHODS, CLIENT_NOTIFICATIONS, CLIENT_REQUESTS, SERVER_NOTIFICATIONS
from mcp_types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION, MODERN_PROTOCOL_VERSIONS
from pydantic_core import InitErrorDetails, ValidationError

from mcp_operator_proxy.tracing.context import BAGGAGE

Json: TypeAlias = dict[str, Any]

CONNECTION_META: Final = frozenset(
    {
        PROTOCOL_VERSION_META_KEY,
        CLIENT_INFO_META_KEY,
        CLIENT_CAPABILITIES_META_KEY,
        SERVER_INFO_META_KEY,
        SUBSCRIPTION_ID_META_KEY,
        "progressToken",
    }
)
"""`_meta` keys that speak of one connection and end at it."""
_ENDS_HERE: Final = CONNECTION_META | {BAGGAGE}
CONTINUATION: Final = ("inputResponses", "requestState")
"""Params of a request that goes on with a call that asked (SEP-2322)."""
COMPLETE: Final[Mapping[str, Any]] = {"resultType": "complete"}
UNCACHED: Final[Mapping[str, Any]] = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
"""What the modern era requires of a result that says nothing about its freshness."""
_MODERN_FIELDS: Final = frozenset({"resultType", "ttlMs", "cacheScope"})
_MEMBERS: Final = {
    "tools/call": "content",
    "prompts/get": "messages",
    "resources/read": "contents",
    "completion/complete": "completion",
}
_FORMS: Final = frozenset((*CLIENT_REQUESTS, *CLIENT_NOTIFICATIONS, *SERVER_NOTIFICATIONS))


def is_modern(version: str | None) -> bool:
    """Whether a protocol version is of the era without sessions."""
    return version in MODERN_PROTOCOL_VERSIONS


def has_form(method: str, *, modern: bool) -> bool:
    """Whether a request of a client, or a notification of either side, exists in that era.

    Those that do not are answered or given up at the proxy: `initialize`, `ping`, `logging/setLevel`,
    `resources/subscribe` of the legacy era, `server/discover` and `subscriptions/listen` of the modern one.
    """
    return (method, LATEST_MODERN_VERSION if modern else LATEST_HANDSHAKE_VERSION) in _FORMS


# Requests of clients


def request_for(params: Mapping[str, Any], *, modern: bool, log_level: str | None = None) -> Json:
    """The params of a client's request as a backend of that era is to have them.

    What speaks of the client's own connection goes: the transport to the backend adds its own. `log_level` is the one that
    a legacy client set for its session; a modern client has it in `_meta`, and a legacy backend has no place for it.
    """
    given = params.get("_meta")
    meta = {key: value for key, value in given.items() if key not in _ENDS_HERE} if _is_object(given) else {}
    if not modern:
        meta.pop(LOG_LEVEL_META_KEY, None)
    elif log_level is not None:
        meta[LOG_LEVEL_META_KEY] = log_level
    left_out = ("_meta",) if modern else ("_meta", *CONTINUATION)
    sent = {key: value for key, value in params.items() if key not in left_out}
    if meta:
        sent["_meta"] = meta
    return sent


def is_continuation(params: Mapping[str, Any]) -> bool:
    """Whether a request goes on with a call that asked."""
    return params.get("requestState") is not None or params.get("inputResponses") is not None


# Results of servers


def result_for_modern(method: str, result: Json) -> Json:
    """A result of a legacy or modern server, with the fields that the modern era requires and without its connection's `_meta`."""
    result = without_connection_meta(result)
    if result.get("resultType", "complete") != "complete":
        return result  # `input_required`, or the result of an extension: it is not cached
    needed = UNCACHED if method in CACHEABLE_METHODS else COMPLETE
    return result if needed.keys() <= result.keys() else {**needed, **result}


def result_for_legacy(method: str, result: Json) -> Json:
    """A result of a legacy or modern server, without what only the modern era has."""
    result = without_connection_meta(result)
    if not _MODERN_FIELDS.isdisjoint(result):
        result = {key: value for key, value in result.items() if key not in _MODERN_FIELDS}
    if method == "tools/call":
        return _structured_for_legacy(result)
    if method == "tools/list" and isinstance(tools := result.get("tools"), list):
        translated = tools_for_legacy(tools)
        return result if translated is tools else {**result, "tools": translated}
    return result


def check_whole(method: str, result: Mapping[str, Any]) -> None:
    """See that a result has what its method promises, so that no failing server gives an empty success.

    The library's schema of 2026-07-28 lets `{}` pass, as all members of its `InputRequiredResult` are optional.

    Raises:
        pydantic.ValidationError: it has not.
    """
    member = _MEMBERS.get(method)
    if member is None or result.get("resultType", "complete") != "complete":
        return
    if not isinstance(result.get(member), list | Mapping):
        missing = InitErrorDetails(type="missing", loc=(member,), input=None)
        raise ValidationError.from_exception_data(method, [missing])


def without_connection_meta(result: Json) -> Json:
    meta = result.get("_meta")
    if not _is_object(meta) or CONNECTION_META.isdisjoint(meta):
        return result
    kept = {key: value for key, value in meta.items() if key not in CONNECTION_META}
    rest = {key: value for key, value in result.items() if key != "_meta"}
    return {**rest, "_meta": kept} if kept else rest


def tools_for_legacy(tools: list[Any]) -> list[Any]:
    """Tool definitions whose `outputSchema` is no object schema lose it: one of them would make the whole list invalid."""
    if all(_output_is_object(tool) for tool in tools):
        return tools
    return [
        tool if _output_is_object(tool) else {key: value for key, value in tool.items() if key != "outputSchema"}
        for tool in tools
    ]


def _output_is_object(tool: Any) -> bool:
    schema = tool.get("outputSchema")
    return schema is None or (_is_object(schema) and schema.get("type") == "object")


def _structured_for_legacy(result: Json) -> Json:
    """Structured content is an object there; anything else is shown as text, unless the server has done so itself."""
    structured = result.get("structuredContent")
    if structured is None or isinstance(structured, dict):
        return result
    rest = {key: value for key, value in result.items() if key != "structuredContent"}
    if not rest.get("content"):
        rest["content"] = [{"type": "text", "text": json.dumps(structured, ensure_ascii=False, separators=(",", ":"))}]
    return rest


# Questions of servers: requests of their own (legacy), or part of an `InputRequiredResult` (modern)


def question_for_modern(method: str, params: Mapping[str, Any] | None) -> Json:
    """A legacy server's request as one of the `inputRequests` of an `InputRequiredResult`."""
    kept = {key: value for key, value in (params or {}).items() if key not in ("task", "elicitationId")}
    meta = kept.pop("_meta", None)
    if _is_object(meta) and (meta := {k: v for k, v in meta.items() if k not in CONNECTION_META}):
        kept["_meta"] = meta
    if method == "roots/list" and not kept:
        return {"method": method}
    return {"method": method, "params": kept}


def question_for_legacy(question: Mapping[str, Any], elicitation_id: str) -> Json:
    """One of the `inputRequests` as a request to a legacy client, which needs an id for an elicitation in url mode."""
    params = question.get("params")
    if question.get("method") == "elicitation/create" and _is_object(params) and params.get("mode") == "url":
        return {**question, "params": {**params, "elicitationId": params.get("elicitationId") or elicitation_id}}
    return dict(question)


def may_be_asked(capabilities: Mapping[str, Any] | None) -> bool:
    """Whether a client lets a server ask it for anything in the middle of a call."""
    return capabilities is not None and any(
        capabilities.get(kind) is not None for kind in ("elicitation", "sampling", "roots")
    )


def refusal(method: str, params: Mapping[str, Any] | None, capabilities: Mapping[str, Any] | None) -> Json | None:
    """The JSON-RPC error for a question that the client did not say it can answer, or None where it can.

    By 2025-11-25: method not found without the capability, invalid params for a mode or a feature that was not declared.
    """
    kind = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}.get(
        method
    )
    declared = (capabilities or {}).get(kind) if kind else None
    if not _is_object(declared):
        return {"code": METHOD_NOT_FOUND, "message": f"the client does not support {kind or method}"}
    params = params or {}
    if kind == "elicitation":
        mode = params.get("mode", "form")
        if not (declared.get(mode) is not None or (mode == "form" and not declared)):
            return {"code": INVALID_PARAMS, "message": f"the client does not support elicitation in {mode} mode"}
    if kind == "sampling" and params.get("tools") and declared.get("tools") is None:
        return {"code": INVALID_PARAMS, "message": "the client does not support tools in sampling"}
    return None


def required_capabilities(question: Mapping[str, Any]) -> Json:
    """The client capabilities that a question needs, as the data of error -32021 names them."""
    params = question.get("params") or {}
    match question.get("method"):
        case "elicitation/create":
            return {"elicitation": {params.get("mode", "form"): {}}}
        case "sampling/createMessage":
            return {"sampling": {"tools": {}} if params.get("tools") else {}}
        case _:
            return {"roots": {}}


def elicitations_of(data: Any) -> list[Json]:
    """The url elicitations in the data of a legacy server's error -32042; none where it is malformed."""
    found = data.get("elicitations") if _is_object(data) else None
    if not isinstance(found, list):
        return []
    wanted = ("message", "url")
    return [
        {"mode": "url", **{key: item[key] for key in (*wanted, "elicitationId") if isinstance(item.get(key), str)}}
        for item in found
        if _is_object(item) and all(isinstance(item.get(key), str) for key in wanted)
    ]


def _is_object(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)
