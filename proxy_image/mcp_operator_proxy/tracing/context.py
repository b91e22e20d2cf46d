"""The context of a trace as it travels: W3C Trace Context, in HTTP headers and in `_meta` (SEP-414). Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
BAGGAGE: Final = "baggage"
"""W3C Baggage says things of the caller's own. It ends at the proxy: servers may be anybody's."""
SAMPLED: Final = 0x01
_KEPT_FLAGS: Final = 0x03
"""`sampled`, and `random` of Trace Context level 2."""
_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE: Final = re.compile(r"[\x20-\x7e]{1,512}")
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KEYS: Final = (TRACEPARENT, TRACESTATE)


class Context(NamedTuple):
    """Of a span in another process."""

    trace_id: int
    span_id: int
    flags: int
    state: str | None = None
    """`tracestate`, as it came."""

    @property
    def sampled(self) -> bool:
        return bool(self.flags & SAMPLED)


def read(traceparent: Any, tracestate: Any = None) -> Context | None:
    """None for what is not valid (Trace Context, section 3.2.2): it is as if nothing had come."""
    found = _TRACEPARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    if found is None:
        return None
    version, trace_id, span_id = found[1], int(found[2], 16), int(found[3], 16)
    if version == "ff" or (version == "00" and found[5]) or not trace_id or not span_id:
        return None
    state = tracestate if isinstance(tracestate, str) and _STATE.fullmatch(tracestate) else None
    return Context(trace_id, span_id, int(found[4], 16) & _KEPT_FLAGS, state)


def written(trace_id: int, span_id: int, flags: int) -> str:
    """A `traceparent`."""
    return f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"


def of_headers(headers: Mapping[bytes, bytes]) -> Context | None:
    """`headers` have names in lower case."""
    parent = headers.get(b"traceparent")
    return None if parent is None else read(parent.decode("latin-1"), headers.get(b"tracestate", b"").decode("latin-1"))


def of_lines(lines: Sequence[tuple[bytes, bytes]]) -> Context | None:
    """Of the header lines of a request: `tracestate` may stand on several (Trace Context, section 3.3.1.1)."""
    found, states = dict(lines), [value for name, value in lines if name == b"tracestate"]
    return of_headers({**found, b"tracestate": b",".join(states)} if len(states) > 1 else found)


def of_meta(meta: Any) -> Context | None:
    """That in the `_meta` of a request."""
    return read(meta.get(TRACEPARENT), meta.get(TRACESTATE)) if isinstance(meta, Mapping) else None


class Carried(NamedTuple):
    """What the `_meta` of a request holds of a context, apart from the rest of it."""

    members: bytes
    """As JSON members, to be sent on as they came."""
    context: Context | None
    """None where it is not valid."""


def parted(meta: bytes) -> tuple[Carried | None, bytes]:
    """Part the JSON of a `_meta`: a client's is always the same but for the context of each call."""
    try:
        members = _MEMBERS.decode(meta)
    except (msgspec.MsgspecError, RecursionError):
        return None, meta
    taken: dict[str, msgspec.Raw] = {key: members.pop(key) for key in _KEYS if key in members}
    if not taken:
        return None, meta
    values = {key: _text(raw) for key, raw in taken.items()}
    carried = Carried(_joined(taken), read(values.get(TRACEPARENT), values.get(TRACESTATE)))
    return carried, b"{" + _joined(members) + b"}"


def spliced(meta: bytes | None, members: bytes) -> bytes:
    """`meta`, an object without blanks around its members, with `members` in it."""
    return b"{" + members + b"}" if meta is None or meta == b"{}" else meta[:-1] + b"," + members + b"}"


def _joined(members: Mapping[str, msgspec.Raw]) -> bytes:
    return b",".join(msgspec.json.encode(key) + b":" + bytes(value) for key, value in members.items())


def _text(raw: msgspec.Raw) -> str | None:
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.MsgspecError:
        return None
