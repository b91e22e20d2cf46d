"""JSON-RPC 2.0 messages as MCP uses them: plain dicts that pass through with nothing lost but insignificant space.

Source: JSON-RPC 2.0 specification; MCP 2025-11-25, "Base protocol: Messages".
"""

import json
from enum import Enum
from typing import Any, Final

Message = dict[str, Any]
RequestId = int | str

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
UNSUPPORTED_PROTOCOL_VERSION: Final = -32022
"""MCP 2026-07-28."""
HEADER_MISMATCH: Final = -32020
"""MCP 2026-07-28: a header says something else than the body."""
MISSING_CAPABILITY: Final = -32021
"""MCP 2026-07-28: the request needs a capability that the client has not declared."""
SERVER_UNAVAILABLE: Final = -32010
"""The stdio server is not running; the request never reached it and may be repeated."""
SERVER_EXITED: Final = -32011
"""The stdio server ended while it had the request: whether it ran is unknown."""
TOO_MANY_SESSIONS: Final = -32012
"""No further session: the limit of the bridge is reached."""
REQUEST_CANCELLED: Final = -32800
"""The caller cancelled the request (the value that LSP and the MCP SDK use)."""

_LINE_SEPARATORS: Final = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


class Kind(Enum):
    REQUEST = "request"
    NOTIFICATION = "notification"
    RESPONSE = "response"


class InvalidMessage(ValueError):
    """Not one JSON-RPC 2.0 message. The text says why, without any of the content."""


def decode(data: bytes) -> tuple[Kind, Message]:
    """One message from UTF-8 JSON. Raises InvalidMessage."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise InvalidMessage("invalid UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise InvalidMessage("not JSON") from error
    return kind_of(value), value


def kind_of(value: object) -> Kind:
    """Tell what a decoded JSON value is. Raises InvalidMessage."""
    if isinstance(value, list):
        raise InvalidMessage("a JSON-RPC batch, which MCP does not have")
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0":
        raise InvalidMessage("not a JSON-RPC 2.0 object")
    if "method" in value:
        return _kind_of_call(value)
    if "id" not in value or ("result" in value) == ("error" in value):
        raise InvalidMessage("a JSON-RPC response needs an id and one of result and error")
    return Kind.RESPONSE


def _kind_of_call(value: Message) -> Kind:
    if not isinstance(value["method"], str):
        raise InvalidMessage("method is no string")
    if not isinstance(value.get("params", {}), dict):
        raise InvalidMessage("params is no object")
    if "id" not in value:
        return Kind.NOTIFICATION
    if isinstance(value["id"], bool) or not isinstance(value["id"], int | str):
        raise InvalidMessage("a request's id is a string or an integer")
    return Kind.REQUEST


def encode(message: Message) -> bytes:
    """Compact UTF-8 JSON without any character that a reader may take for the end of a line."""
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    if text.isascii():
        return text.encode("ascii")
    for character, escape in _LINE_SEPARATORS.items():
        text = text.replace(character, escape)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate, legal as an escape only
        return json.dumps(message, separators=(",", ":")).encode("ascii")


def request(request_id: RequestId, method: str, params: Message | None = None) -> Message:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params or {}}


def notification(method: str, params: Message | None = None) -> Message:
    message: Message = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        message["params"] = params
    return message


def result(request_id: RequestId, value: Message) -> Message:
    return {"jsonrpc": "2.0", "id": request_id, "result": value}


def error(request_id: RequestId | None, code: int, message: str, data: object = None) -> Message:
    body: Message = {"code": code, "message": message}
    if data is not None:
        body["data"] = data
    return {"jsonrpc": "2.0", "id": request_id, "error": body}


def params_of(message: Message) -> Message:
    """The params, or an empty object where there are none."""
    params = message.get("params")
    return params if isinstance(params, dict) else {}


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
