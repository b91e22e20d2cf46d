"""JSON-RPC messages of a server, taken as the client library takes them. Pure."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_REQUEST
from pydantic_core import from_json

from mcp_operator_proxy.backends.lean.exchange import Exchange, Unplain

MODERN_FIELDS: Final = frozenset({"ttlMs", "cacheScope", "resultType"})
"""Of results of 2026-07-28; in the handshake eras they mean nothing."""
_NOT_JUDGED: Final = frozenset({401, 403})


class Refused(Unplain):
    """The server answered HTTP 4xx, without a JSON-RPC error."""


def parse(data: bytes) -> dict[str, Any]:
    """One message. Raises Unplain."""
    try:
        message = from_json(data)  # the parser that the client library uses
    except ValueError as error:
        raise Unplain("not JSON") from error
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise Unplain("not JSON-RPC")
    return message


def answers(message: Mapping[str, Any], request_id: int) -> bool:
    """Whether it is the answer to that request."""
    found = message.get("id")
    return type(found) is int and found == request_id and "method" not in message


def result(message: Mapping[str, Any]) -> dict[str, Any]:
    """Of an answer.

    Raises:
        MCPError: it is an error.
        Unplain: it is neither.
    """
    if isinstance(found := message.get("result"), dict) and "error" not in message:
        return found
    error = message.get("error")
    if not isinstance(error, dict) or "result" in message:
        raise Unplain("neither a result nor an error")
    code, words = error.get("code"), error.get("message")
    if type(code) is not int or not isinstance(words, str):
        raise Unplain("a malformed error")
    raise MCPError(code, words, error.get("data"))


def result_of(exchange: Exchange, request_id: int, *, in_session: bool) -> dict[str, Any]:
    """The result that came in a body. What an HTTP error means to a session, the client library's session knows.

    Raises:
        MCPError: the server answered with a JSON-RPC error.
        Refused: HTTP 4xx, outside of a session, that is no JSON-RPC error.
        Unplain: anything else.
    """
    status = exchange.status
    refused = 400 <= status < 500 and status not in _NOT_JUDGED and not in_session
    if status != 200 and not refused:
        raise Unplain(f"HTTP {status}")
    message: Mapping[str, Any] = {}
    if exchange.kind == b"application/json":
        try:
            message = parse(exchange.body)
        except Unplain:
            if not refused:
                raise
    if refused:
        if "error" in message:
            return result(message)
        raise Refused(f"HTTP {status}")
    if not answers(message, request_id):
        raise Unplain("an answer to something else")
    return result(message)


def reply_to(question: Mapping[str, Any]) -> bytes:
    """The answer to a request of the server."""
    answer: dict[str, Any] = {"jsonrpc": "2.0", "id": question["id"]}
    if question.get("method") == "ping":
        answer["result"] = {}
    else:
        answer["error"] = {"code": INVALID_REQUEST, "message": "not supported"}
    return msgspec.json.encode(answer)


def floor_ttl(answer: dict[str, Any]) -> None:
    """A negative `ttlMs` is taken for 0, as the specification of caching in 2026-07-28 recommends."""
    ttl = answer.get("ttlMs")
    if isinstance(ttl, int | float) and not isinstance(ttl, bool) and ttl < 0:
        answer["ttlMs"] = 0
