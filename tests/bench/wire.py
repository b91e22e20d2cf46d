"""Prepared bytes of MCP over streamable HTTP, for a client and a server that cost as little as Python can. Pure.

Eras as in the specification: `legacy` is 2025-11-25 (handshake, session id), `modern` is 2026-07-28 (neither).
"""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

Era: TypeAlias = Literal["legacy", "modern"]
LEGACY_VERSION: Final = "2025-11-25"
MODERN_VERSION: Final = "2026-07-28"
TOOL: Final = "echo"
FIRST_ID: Final = 1_000_000
"""Request ids have seven digits, so that the Content-Length of prepared requests stays."""
_META: Final = {
    "io.modelcontextprotocol/protocolVersion": MODERN_VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class _Result(msgspec.Struct):
    isError: bool = False  # noqa: N815 - the wire's name


class _Answer(msgspec.Struct):
    id: int | None = None
    result: _Result | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_ANSWER: Final = msgspec.json.Decoder(_Answer)


def event_data(body: bytes) -> bytes:
    """The last message of an event stream: what its `data:` lines hold; empty where there is none."""
    found = b""
    for event in body.replace(b"\r\n", b"\n").split(b"\n\n"):
        data = b"\n".join(line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:"))
        found = data or found
    return found


def problem(status: int, body: bytes, request_id: int) -> str | None:
    """What is wrong with an answer to `request_id`: None where it is a result with that id and no tool error."""
    if status != 200:
        return f"status {status}: {body[:200].decode(errors='replace')}"
    try:
        answer = _ANSWER.decode(body if body[:1] == b"{" else event_data(body))
    except msgspec.MsgspecError as error:
        return f"no JSON-RPC answer ({error}): {body[:200].decode(errors='replace')}"
    if answer.error is not msgspec.UNSET:
        return f"error {bytes(answer.error)[:300].decode(errors='replace')}"
    if answer.id != request_id:
        return f"the answer's id is {answer.id}, the request's {request_id}"
    if answer.result is msgspec.UNSET or answer.result.isError:
        return f"no result: {body[:300].decode(errors='replace')}"
    return None


def request_head(
    url_path: str, host: str, headers: Mapping[str, str], body_length: int, *, method: str = "POST"
) -> bytes:
    lines = [
        f"{method} {url_path} HTTP/1.1",
        f"host: {host}",
        "content-type: application/json",
        "accept: application/json, text/event-stream",
        *(f"{name}: {value}" for name, value in headers.items()),
        f"content-length: {body_length}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Template:
    """A request as two halves around its id."""

    def __init__(self, url_path: str, host: str, headers: Mapping[str, str], method: str, params: object) -> None:
        encoded = msgspec.json.encode(params)
        before = b'{"jsonrpc":"2.0","id":'
        after = b',"method":"' + method.encode() + b'","params":' + encoded + b"}"
        head = request_head(url_path, host, headers, len(before) + len(str(FIRST_ID)) + len(after))
        self._before, self._after = head + before, after

    def request(self, request_id: int) -> bytes:
        """The request's bytes. `request_id` has seven digits."""
        return b"%b%d%b" % (self._before, request_id, self._after)


def template(
    era: Era, url_path: str, host: str, headers: Mapping[str, str], *, method: str, name: str, arguments: object = None
) -> Template:
    """A `tools/call` of `name`, or another method without params, in either era."""
    params: dict[str, object] = {"name": name, "arguments": arguments or {}} if method == "tools/call" else {}
    if era == "legacy":
        return Template(url_path, host, {**headers, "mcp-protocol-version": LEGACY_VERSION}, method, params)
    own = {"mcp-protocol-version": MODERN_VERSION, "mcp-method": method}
    if method == "tools/call":
        own["mcp-name"] = name
    return Template(url_path, host, {**headers, **own}, method, {**params, "_meta": _META})


def initialize(url_path: str, host: str, headers: Mapping[str, str]) -> bytes:
    params = {
        "protocolVersion": LEGACY_VERSION,
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"},
    }
    return Template(url_path, host, headers, "initialize", params).request(FIRST_ID)


def initialized(url_path: str, host: str, headers: Mapping[str, str]) -> bytes:
    body = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
    return request_head(url_path, host, {**headers, "mcp-protocol-version": LEGACY_VERSION}, len(body)) + body


def delete(url_path: str, host: str, headers: Mapping[str, str]) -> bytes:
    """The end of a legacy session."""
    return request_head(url_path, host, {**headers, "mcp-protocol-version": LEGACY_VERSION}, 0, method="DELETE")


# The server's side


def tool_definitions(count: int) -> list[dict[str, object]]:
    """`count` tools; the first is `echo`, the others `tool_0001` and so on. About 330 bytes each, as real ones have."""
    schema = {
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "What to say."},
            "times": {"type": "integer", "minimum": 1, "default": 1},
        },
        "required": [],
    }
    return [
        {
            "name": TOOL if number == 0 else f"tool_{number:04}",
            "title": f"Tool {number}",
            "description": f"Says text number {number} so many times, for whoever wants to hear it.",
            "inputSchema": schema,
        }
        for number in range(count)
    ]


def results(tools: int) -> dict[str, bytes]:
    """The results of both eras by method, as JSON. Fields of 2026-07-28 do no harm to earlier clients."""
    capabilities = {"tools": {"listChanged": False}}
    info = {"name": "bench", "version": "1"}
    complete = {"resultType": "complete"}
    cached = {**complete, "ttlMs": 0, "cacheScope": "private"}
    values: dict[str, object] = {
        "initialize": {"protocolVersion": LEGACY_VERSION, "capabilities": capabilities, "serverInfo": info},
        "server/discover": {
            **cached,
            "supportedVersions": [MODERN_VERSION],
            "capabilities": capabilities,
            "serverInfo": info,
        },
        "tools/list": {**cached, "tools": tool_definitions(tools)},
        "tools/call": {**complete, "content": [{"type": "text", "text": "x"}]},
        "ping": {},
    }
    return {method: msgspec.json.encode(value) for method, value in values.items()}
