"""Request ids and progress tokens of many callers on one wire, without mixing them (pure).

Each request gets a wire id that is never used again; the same number stands for its progress token, since a
token only has to be unique among active requests (MCP 2025-11-25, "Progress").
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mcp_operator_proxy.bridge.jsonrpc import Message, RequestId, params_of
from mcp_operator_proxy.bridge.modern import SUBSCRIPTION

Owner = TypeVar("Owner")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Owner]):
    owner: Owner
    client_id: RequestId
    token: RequestId | None


@dataclass(slots=True)
class CallTable(Generic[Owner]):
    """The requests in flight on one wire. Messages given in are never changed."""

    _entries: dict[int, _Entry[Owner]] = field(default_factory=dict)
    _last: int = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Owner]:
        return iter([entry.owner for entry in self._entries.values()])

    @property
    def last(self) -> int:
        """The newest wire id."""
        return self._last

    def oldest(self, counts: Callable[[Owner], bool]) -> int | None:
        """The wire id of the request that has been in flight for longest, of those that count."""
        return next((wire_id for wire_id, entry in self._entries.items() if counts(entry.owner)), None)

    def add(self, message: Message, owner: Owner) -> tuple[int, Message]:
        """Register a request; returns its wire id and the message to send."""
        self._last += 1
        token = _token(message)
        self._entries[self._last] = _Entry(owner, message["id"], token)
        outgoing = {**message, "id": self._last}
        if token is not None:
            outgoing["params"] = _with_token(params_of(message), self._last)
        return self._last, outgoing

    def response(self, message: Message) -> tuple[Owner, Message] | None:
        """End the request that a response answers; None where nobody waits for it."""
        wire_id = _as_wire_id(message.get("id"))
        entry = None if wire_id is None else self._entries.pop(wire_id, None)
        return None if entry is None else (entry.owner, _for_subscriber({**message, "id": entry.client_id}, entry))

    def subscription(self, message: Message) -> tuple[Owner, Message] | None:
        """Address a notification of a `subscriptions/listen` stream; None where it belongs to none that is open."""
        meta = params_of(message).get("_meta")
        wire_id = _as_wire_id(meta.get(SUBSCRIPTION)) if isinstance(meta, dict) else None
        entry = None if wire_id is None else self._entries.get(wire_id)
        return None if entry is None else (entry.owner, _for_subscriber(message, entry))

    def progress(self, message: Message) -> tuple[Owner, Message] | None:
        """Address a `notifications/progress`; None where its request is over or asked for none."""
        params = params_of(message)
        wire_id = _as_wire_id(params.get("progressToken"))
        entry = None if wire_id is None else self._entries.get(wire_id)
        if entry is None or entry.token is None:
            return None
        return entry.owner, {**message, "params": {**params, "progressToken": entry.token}}

    def remove(self, wire_id: int) -> bool:
        """Forget a request; its late response will find nobody."""
        return self._entries.pop(wire_id, None) is not None

    def clear(self) -> list[Owner]:
        owners = list(self)
        self._entries.clear()
        return owners


def _for_subscriber(message: Message, entry: _Entry[Owner]) -> Message:
    """The id of a subscription is that of its request (SEP-2575), so it is put back as that one is."""
    part = "result" if "result" in message else "params"
    body = message.get(part)
    meta = body.get("_meta") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(meta, dict) or SUBSCRIPTION not in meta:
        return message
    return {**message, part: {**body, "_meta": {**meta, SUBSCRIPTION: entry.client_id}}}


def _token(message: Message) -> RequestId | None:
    meta = params_of(message).get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    return token if isinstance(token, int | str) and not isinstance(token, bool) else None


def _with_token(params: Message, token: int) -> Message:
    return {**params, "_meta": {**params["_meta"], "progressToken": token}}


def _as_wire_id(value: object) -> int | None:
    """Wire id of an echoed value; servers that know only strings or doubles echo 7 as "7" or 7.0."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return value if isinstance(value, int) else None
