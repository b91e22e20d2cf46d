"""JSON-RPC bodies of the hot methods, taken apart and put together again as bytes. Pure.

What a call is routed by is decoded; all else (arguments, contents) is spliced as it came. A function returns None for
whatever is not plainly what it expects: the full path, which builds every object, then says what is wrong.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal

import msgspec
import pydantic_core
from mcp.shared.inbound import encode_header_value
from msgspec import UNSET, Raw, UnsetType

NAME_KEYS: Final[Mapping[str, str]] = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""The hot methods, and the param that names what is used."""
LIST_KEYS: Final[Mapping[str, str]] = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
SHORT: Final = 512
"""Bytes of a `_meta` that is worth remembering."""
RESULT_TYPE: Final = b'"resultType":"complete"'
_SHALLOW: Final = 150
"""A body with no more arrays and objects than this cannot be nested too deeply for anybody."""
_LONG_NUMBER: Final = 20
"""Digits of an id; one with more is looked at by the full path."""


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    jsonrpc: str
    method: str
    id: Raw | UnsetType = UNSET
    params: Raw | UnsetType = UNSET


class _NamedParams(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    arguments: Raw | UnsetType = UNSET
    meta: Raw | UnsetType = msgspec.field(name="_meta", default=UNSET)


class _ToolCall(msgspec.Struct, forbid_unknown_fields=True):
    jsonrpc: Literal["2.0"]
    method: Literal["tools/call"]
    id: Raw
    params: _NamedParams


class _UriParams(msgspec.Struct, forbid_unknown_fields=True):
    uri: str
    meta: Raw | UnsetType = msgspec.field(name="_meta", default=UNSET)


class _ListParams(msgspec.Struct, forbid_unknown_fields=True):
    cursor: str | UnsetType = UNSET
    meta: Raw | UnsetType = msgspec.field(name="_meta", default=UNSET)


class _CancelParams(msgspec.Struct):
    request_id: Raw = msgspec.field(name="requestId")


class Request(msgspec.Struct, frozen=True):
    """A request of one of the hot methods, or of a list."""

    id: bytes
    """As JSON."""
    method: str
    name: str
    """Tool, prompt or resource URI, as the client sees it; the cursor of a list."""
    arguments: bytes | None = None
    """A JSON object."""
    meta: bytes | None = None
    """A JSON object."""


class Answer(msgspec.Struct):
    """A message of a backend. Exactly one of `result`, `error` and `method` makes sense."""

    jsonrpc: Literal["2.0"]
    id: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET


class _Error(msgspec.Struct):
    code: int
    message: str
    data: Raw | UnsetType = UNSET


class _Progress(msgspec.Struct):
    token: Raw = msgspec.field(name="progressToken")
    progress: float
    total: float | None = None
    message: str | None = None


class _Log(msgspec.Struct):
    level: str
    data: Raw
    logger: str | None = None


class _Text(msgspec.Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    text: str


class _Image(msgspec.Struct, tag_field="type", tag="image", forbid_unknown_fields=True):
    data: str
    mimeType: str  # noqa: N815 - the wire's name


class _Audio(msgspec.Struct, tag_field="type", tag="audio", forbid_unknown_fields=True):
    data: str
    mimeType: str  # noqa: N815


class _ToolResult(msgspec.Struct, forbid_unknown_fields=True):
    content: Raw
    structured: Raw | UnsetType = msgspec.field(name="structuredContent", default=UNSET)
    is_error: bool | UnsetType = msgspec.field(name="isError", default=UNSET)
    meta: Raw | UnsetType = msgspec.field(name="_meta", default=UNSET)
    result_type: str | UnsetType = msgspec.field(name="resultType", default=UNSET)


class _PlainResult(msgspec.Struct, forbid_unknown_fields=True):
    content: list[_Text | _Image | _Audio]
    is_error: bool | UnsetType = msgspec.field(name="isError", default=UNSET)


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_TOOL_CALL: Final = msgspec.json.Decoder(_ToolCall)
_NAMED: Final = msgspec.json.Decoder(_NamedParams)
_URI: Final = msgspec.json.Decoder(_UriParams)
_LISTED: Final = msgspec.json.Decoder(_ListParams)
_CANCEL: Final = msgspec.json.Decoder(_CancelParams)
_ANSWER: Final = msgspec.json.Decoder(Answer)
_ERROR: Final = msgspec.json.Decoder(_Error)
_PROGRESS: Final = msgspec.json.Decoder(_Progress)
_LOG: Final = msgspec.json.Decoder(_Log)
_PROMPT_ARGUMENTS: Final = msgspec.json.Decoder(dict[str, str])
_PLAIN_RESULT: Final = msgspec.json.Decoder(_PlainResult)
_TOOL_RESULT: Final = msgspec.json.Decoder(_ToolResult)
_BLOCKS: Final = msgspec.json.Decoder(list[_Text | _Image | _Audio])
_MEMBERS: Final = msgspec.json.Decoder(dict[str, Raw])
_TOOLS_CALL: Final = b'"tools/call"'
_encode = msgspec.json.encode


# From the client


def parse(body: bytes) -> Request | None:
    """A request of a hot method or of a list, or None."""
    if not body.isascii() and not is_utf8(body):
        return None
    if len(body) > 2 * _SHALLOW and body.count(b"[") + body.count(b"{") > _SHALLOW and not _is_plain(body):
        return None
    try:
        if body.find(_TOOLS_CALL) >= 0 and (call := _tool_call(body)) is not None:
            return call
        envelope = _ENVELOPE.decode(body)
        method = envelope.method
        if envelope.jsonrpc != "2.0" or (request_id := _id(envelope.id)) is None:
            return None
        if method in NAME_KEYS:
            return _call(request_id, method, envelope.params)
        if method in LIST_KEYS:
            listed = _ListParams() if envelope.params is UNSET else _LISTED.decode(envelope.params)
            cursor = "" if listed.cursor is UNSET else listed.cursor or None
            return None if cursor is None else Request(request_id, method, cursor, None, _object(listed.meta))
    except (msgspec.MsgspecError, _NotAnObjectError, RecursionError):
        pass
    return None


def _tool_call(body: bytes) -> Request | None:
    """The most frequent request, read in one go; None for what has to be looked at in pieces."""
    try:
        call = _TOOL_CALL.decode(body)
    except msgspec.ValidationError:
        return None
    request_id, params = _id(call.id), call.params
    if request_id is None:
        return None
    return Request(request_id, "tools/call", params.name, _object(params.arguments), _object(params.meta))


def is_utf8(body: bytes) -> bool:
    """Whether JSON is in UTF-8: msgspec does not look into what it skips."""
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_plain(body: bytes) -> bool:
    """Whether the full path can read it: not nested too deeply."""
    try:
        pydantic_core.from_json(body)
    except ValueError:
        return False
    return True


def _call(request_id: bytes, method: str, raw: Raw | UnsetType) -> Request | None:
    if raw is UNSET:
        return None
    if method == "resources/read":
        read = _URI.decode(raw)
        return Request(request_id, method, read.uri, None, _object(read.meta))
    named = _NAMED.decode(raw)
    if method == "prompts/get" and named.arguments is not UNSET:
        _PROMPT_ARGUMENTS.decode(named.arguments)
    return Request(request_id, method, named.name, _object(named.arguments), _object(named.meta))


def cancelled(body: bytes) -> bytes | None:
    """The id, as JSON, of the request that a `notifications/cancelled` means; None for any other message."""
    try:
        envelope = _ENVELOPE.decode(body)
        if envelope.method != "notifications/cancelled" or envelope.id is not UNSET or envelope.params is UNSET:
            return None
        request_id = bytes(_CANCEL.decode(envelope.params).request_id)
        if b"\\" in request_id:  # as the call has it, which is taken with a plain id alone
            request_id = _encode(msgspec.json.decode(request_id, type=str))
        return _id(Raw(request_id))
    except (msgspec.MsgspecError, RecursionError):
        return None


def _id(raw: Raw | UnsetType) -> bytes | None:
    """An integer or a plain string."""
    if raw is UNSET:
        return None
    text = bytes(raw)
    if text[:1] == b'"':
        return text if text.find(b"\\") < 0 else None
    digits = text[1:] if text[:1] == b"-" else text
    return text if digits.isdigit() and len(digits) <= _LONG_NUMBER else None


class _NotAnObjectError(Exception):
    pass


def _object(raw: Raw | UnsetType) -> bytes | None:
    if raw is UNSET:
        return None
    text = bytes(raw)
    if text[:1] != b"{":
        raise _NotAnObjectError
    return text


def members(text: bytes) -> dict[str, Raw] | None:
    """The members of a JSON object as raw JSON; None for anything else."""
    try:
        return _MEMBERS.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return None


def joined(parts: Mapping[str, bytes | Raw]) -> bytes:
    """The JSON object of raw members; what `members` takes apart."""
    return b"{" + b",".join(_encode(key) + b":" + bytes(value) for key, value in parts.items()) + b"}"


def without(text: bytes, keys: frozenset[str], more: bytes = b"") -> bytes | None:
    """The JSON object `text` without the members `keys` and with those in `more` (`"key":value,…`); None if it is none.

    Of members that come twice the last one counts, as for every reader of the full path.
    """
    found = members(text)
    if found is None:
        return None
    kept = b",".join(_encode(key) + b":" + bytes(value) for key, value in found.items() if key not in keys)
    return b"{" + (kept + b"," + more if kept and more else kept or more) + b"}"


def progress_token(meta: bytes | None) -> bytes | None:
    """The progress token of a request's `_meta`, as JSON; None where there is none."""
    if meta is None or meta.find(b'"progressToken"') < 0:
        return None
    found = (members(meta) or {}).get("progressToken")
    return None if found is None else bytes(found)


# To the backend


def call_head(method: str, own: str) -> bytes:
    """What all calls of one thing have in common. `own` is the backend's own name."""
    return b',"method":"%b","params":{"%b":%b' % (method.encode(), NAME_KEYS[method].encode(), _encode(own))


def call_body(number: int, head: bytes, arguments: bytes | None, meta: bytes | None) -> bytes:
    """A request's body, with a `head` from `call_head`; an empty `meta` is left out."""
    return b'{"jsonrpc":"2.0","id":%d%b%b%b}}' % (
        number,
        head,
        b"" if arguments is None else b',"arguments":' + arguments,
        b',"_meta":' + meta if meta and meta != b"{}" else b"",
    )


def header_value(value: str) -> bytes:
    """`value` for an HTTP header: as it is, or in base64 where it holds anything but printable ASCII (SEP-2243)."""
    return encode_header_value(value).encode("ascii")


# From the backend


def answer(body: bytes) -> Answer | None:
    """A JSON-RPC message of a backend, or None for anything else."""
    try:
        return _ANSWER.decode(body) if is_utf8(body) else None
    except (msgspec.MsgspecError, RecursionError):
        return None


def plain_error(raw: bytes | Raw) -> tuple[int, bytes] | None:
    """The code of a JSON-RPC error, and the error without what does not belong to it; None for what is none."""
    try:
        error = _ERROR.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return None
    if error.data is not UNSET and bytes(error.data) == b"null":
        error.data = UNSET
    return error.code, _encode(error)


def message_of(error: bytes) -> str:
    """The message of a JSON-RPC error that `plain_error` has seen."""
    return _ERROR.decode(error).message


def progress_of(params: bytes) -> bytes | None:
    """The token of `notifications/progress`, as JSON; None where the params are none."""
    try:
        return bytes(_PROGRESS.decode(params).token)
    except (msgspec.MsgspecError, RecursionError):
        return None


def level_of(params: bytes) -> str | None:
    """The level of `notifications/message`; None where the params are none."""
    try:
        return _LOG.decode(params).level
    except (msgspec.MsgspecError, RecursionError):
        return None


def same_token(one: bytes, other: bytes) -> bool:
    """Whether two progress tokens are equal, however their characters are escaped."""
    if one == other:
        return True
    if one[:1] != b'"' or other[:1] != b'"':
        return False
    try:
        return bool(msgspec.json.decode(one) == msgspec.json.decode(other))
    except msgspec.MsgspecError:
        return False


def tool_result(raw: Raw | bytes, stamp: bytes, connection_keys: frozenset[str]) -> tuple[bytes, bool] | None:
    """A plain result of `tools/call` as the client's era wants it, and whether the tool says that it failed.

    `stamp` is empty for the handshake eras, and the member that every `_meta` of the 2026-07-28 era gets. None for a
    result with parts that the eras treat differently (links, resources, extensions), or that is none.
    """
    try:
        if not stamp and (failed := _plain_result(raw)) is not None:
            return bytes(raw), failed
        result = _TOOL_RESULT.decode(raw)
        _BLOCKS.decode(result.content)
    except (msgspec.MsgspecError, RecursionError):
        return None
    if result.result_type is not UNSET and result.result_type != "complete":
        return None
    failed = result.is_error is True
    meta: bytes | None = b""
    if result.meta is not UNSET:
        meta = _stamped(bytes(result.meta), connection_keys, stamp)
        if meta is None:
            return None
    elif stamp:
        meta = b"{" + stamp + b"}"
    parts = [b'"content":' + bytes(result.content)]
    if result.structured is not UNSET:
        structured = bytes(result.structured)
        if structured[:1] != b"{":
            return None
        parts.append(b'"structuredContent":' + structured)
    if result.is_error is not UNSET:
        parts.append(b'"isError":true' if failed else b'"isError":false')
    if stamp:
        parts.append(RESULT_TYPE)
    if meta and (meta != b"{}" or result.meta == Raw(b"{}")):
        parts.append(b'"_meta":' + meta)
    return b"{" + b",".join(parts) + b"}", failed


def _plain_result(raw: Raw | bytes) -> bool | None:
    """Whether the tool says that it failed, of a result that may pass as it is; None for any other."""
    try:
        return _PLAIN_RESULT.decode(raw).is_error is True
    except msgspec.ValidationError:
        return None


def _stamped(meta: bytes, connection_keys: frozenset[str], stamp: bytes) -> bytes | None:
    """The `_meta` of a result: most servers put the same one into each, so that it is remembered."""
    return (_remembered if len(meta) <= SHORT else without)(meta, connection_keys, stamp)


_remembered: Final = lru_cache(maxsize=256)(without)


def result_body(request_id: bytes, result: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":' + request_id + b',"result":' + result + b"}"


def error_body(request_id: bytes, error: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":' + request_id + b',"error":' + error + b"}"
