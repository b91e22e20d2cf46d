"""Exchanges of JSON-RPC and REST on their way through the proxy, kept in memory while somebody watches.

What a client has sent and got and what was sent to the server and came back are kept as bytes; what they mean is found out by
whoever looks. Headers are never kept. Nobody watches: there is no recorder, and the lane and the full path ask for none but one
attribute.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

from starlette.types import Message, Scope, Send

from mcp_operator_proxy.auth import PRINCIPAL, Principal
from mcp_operator_proxy.fastlane.sse import Events, EventTooLarge

WATCH_SECONDS: Final = 60.0
"""So long after somebody has asked, exchanges of what he may see are kept."""
BODY_MOST: Final = 256 * 1024
"""Bytes of one body that are kept; of a longer one only how long it is."""
BYTES_MOST: Final = 16 * 2**20
"""Of all that is kept."""
WATCHERS_MOST: Final = 256
EVERYBODY: Final = ""
"""What an operator watches: no caller has this key."""
STANDING: Final = "subscriptions/listen"
"""A request whose answer is a stream that lasts: what comes on it is told at once."""
SCOPE: Final = "mcp_operator_proxy.recording"
"""Key in an ASGI scope: the `Draft` of the request."""
_CONTENT: Final = b"content-type"


class Body:
    """One message, or the stream of them, as it comes."""

    __slots__ = ("_chunks", "is_stream", "size")

    def __init__(self, data: bytes = b"", *, is_stream: bool = False) -> None:
        self._chunks = [data] if len(data) <= BODY_MOST else []
        self.size = len(data)
        self.is_stream = is_stream
        """Server-sent events; otherwise JSON."""

    def add(self, data: bytes) -> None:
        self.size += len(data)
        if self.size <= BODY_MOST:
            self._chunks.append(data)
        else:
            self._chunks.clear()

    @property
    def kept(self) -> int:
        return self.size if self.size <= BODY_MOST else 0

    def messages(self) -> list[bytes] | None:
        """JSON texts; None where it was too long to be kept."""
        if self.size > BODY_MOST:
            return None
        data = b"".join(self._chunks)
        if not self.is_stream:
            return [data] if data.strip() else []
        try:
            return Events().feed(data)
        except EventTooLarge:
            return None


class Draft:
    """One exchange, while it is under way and after."""

    __slots__ = (
        "answered", "asked", "at", "began", "lane", "method", "name", "number", "outcome", "principal", "route", "seconds",
        "secrets", "sent", "server", "session", "told",
    )  # fmt: skip

    def __init__(self, route: str, principal: Principal | None, session: str | None, sent: bytes | None) -> None:
        self.at = time.time()
        self.began = time.perf_counter()
        self.route = route
        self.principal = principal
        self.session = session
        """Id of the client's session; never shown as it is."""
        self.sent = Body(sent) if sent is not None else None
        """By the client."""
        self.told = Body()
        """To the client."""
        self.asked: Body | None = None
        """The server, by the proxy."""
        self.answered: Body | None = None
        """By the server."""
        self.server: str | None = None
        self.secrets: tuple[str, ...] = ()
        """What the server was shown, and may repeat."""
        self.method = ""
        self.name: str | None = None
        self.outcome = "ok"
        self.seconds = 0.0
        self.lane = False
        self.number = 0
        """From when on it has ended: then it changes no more."""

    @property
    def size(self) -> int:
        bodies = (self.sent, self.told, self.asked, self.answered)
        return 512 + sum(body.kept for body in bodies if body is not None)

    def ask(self, server: str, method: str, params: Mapping[str, Any], secrets: tuple[str, ...] = ()) -> None:
        """A server is asked by the library, which makes the id. Of several questions the last one counts."""
        if self.number:  # what goes on with a call that has asked its user
            return
        self.server, self.answered = server, None
        self.secrets += secrets
        self.asked = Body(_encoded({"jsonrpc": "2.0", "method": method, "params": params}))

    def answer(self, result: Mapping[str, Any]) -> None:
        self._answered({"result": result})

    def fail(self, error: Any) -> None:
        """The server's own JSON-RPC error."""
        self._answered({"error": error})

    def _answered(self, what: Mapping[str, Any]) -> None:
        if not self.number:
            self.answered = Body(_encoded({"jsonrpc": "2.0", **what}))


CURRENT: Final[ContextVar[Draft | None]] = ContextVar("recording", default=None)
"""Of the request that is being answered on the full path."""


class Recorder:
    """Keeps the newest `size` exchanges of those whom somebody watches."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: deque[Draft] = deque()
        self._bytes = 0
        self._watched: dict[str, float] = {}
        self._last = int(time.time() * 1000)  # the numbers of a process that took another's place go on
        self._came = asyncio.Event()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def last(self) -> int:
        """Number of the newest exchange."""
        return self._last

    def watch(self, who: str) -> None:
        """Somebody looks at the exchanges of a caller, by its key, or of `EVERYBODY`."""
        now = time.monotonic()
        if len(self._watched) >= WATCHERS_MOST:
            self._watched = {key: until for key, until in self._watched.items() if until > now}
        if who in self._watched or len(self._watched) < WATCHERS_MOST:
            self._watched[who] = now + WATCH_SECONDS

    @property
    def seconds_left(self) -> float:
        """Until nobody watches any more."""
        return max(self._watched.values(), default=0.0) - time.monotonic()

    def wants(self, principal: Principal | None) -> bool:
        """Whether exchanges of a caller are watched."""
        now = time.monotonic()
        return self._watched.get(EVERYBODY, 0.0) > now or (
            principal is not None and self._watched.get(principal.key, 0.0) > now
        )

    def keep(self, draft: Draft) -> None:
        """It has ended."""
        self._last += 1
        draft.number = self._last
        self._kept.append(draft)
        self._bytes += draft.size
        while len(self._kept) > self.size or (self._bytes > BYTES_MOST and len(self._kept) > 1):
            self._bytes -= self._kept.popleft().size
        came, self._came = self._came, asyncio.Event()
        came.set()

    def after(self, number: int) -> list[Draft]:
        return [draft for draft in self._kept if draft.number > number]

    async def more(self) -> None:
        """Wait for the next one."""
        await self._came.wait()

    # The full path

    def watching(self, scope: Scope, route: str, body: bytes | None, send: Send) -> Send:
        """Record a POST, whose body has been read, and what is sent to its client through the value; or what a server tells on
        a standing stream (GET): each message of it is an exchange of its own."""
        found = scope.get(PRINCIPAL)
        principal = found if isinstance(found, Principal) else None
        if not self.wants(principal):
            return send
        if body is None:
            return _Streamed(self, route, principal, scope, send)
        draft = scope[SCOPE] = Draft(route, principal, _session(scope), body)
        CURRENT.set(draft)
        return _Posted(self, draft, scope, send)

    def notification(self, draft: Draft, data: bytes) -> None:
        """A message that a client got without having asked for it just then."""
        draft.told = Body(data)
        draft.method, draft.outcome = method_of(data) or "message", "notification"
        self.keep(draft)


class _Posted:
    """An ASGI `send` that keeps what goes through it."""

    def __init__(self, recorder: Recorder, draft: Draft, scope: Scope, send: Send) -> None:
        self._recorder, self._draft, self._scope, self._send = recorder, draft, scope, send
        sent = draft.sent.messages() if draft.sent is not None else None
        self._first = sent[0] if sent else b""
        self._standing: Events | None = None

    async def __call__(self, message: Message) -> None:
        try:
            self._see(message)
        finally:
            await self._send(message)

    def _see(self, message: Message) -> None:
        draft = self._draft
        if message["type"] == "http.response.start":
            kind = dict(message["headers"]).get(_CONTENT, b"")
            draft.told.is_stream = kind.startswith(b"text/event-stream")
            if draft.told.is_stream and method_of(self._first) == STANDING:
                self._standing = Events()
            return
        if message["type"] != "http.response.body":
            return
        data = message.get("body", b"")
        if self._standing is not None:
            self._tell(self._standing, data)
        else:
            draft.told.add(data)
        if not message.get("more_body", False):
            self._end()

    def _tell(self, events: Events, data: bytes) -> None:
        draft = self._draft
        for event in _fed(events, data):
            self._recorder.notification(Draft(draft.route, draft.principal, draft.session, None), event)

    def _end(self) -> None:
        draft, scope = self._draft, self._scope
        draft.seconds = time.perf_counter() - draft.began
        draft.method = scope.get("mcp_method") or method_of(self._first) or "?"
        draft.name = scope.get("mcp_name") or name_of(self._first)
        draft.outcome = scope.get("mcp_outcome") or ("notification" if not draft.told.size else "error")
        self._recorder.keep(draft)


class _Streamed:
    """The same for a standing stream."""

    def __init__(self, recorder: Recorder, route: str, principal: Principal | None, scope: Scope, send: Send) -> None:
        self._recorder, self._route, self._principal, self._scope, self._send = recorder, route, principal, scope, send
        self._events = Events()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.body" and self._recorder.wants(self._principal):
            for event in _fed(self._events, message.get("body", b"")):
                draft = Draft(self._route, self._principal, _session(self._scope), None)
                self._recorder.notification(draft, event)
        await self._send(message)


def _fed(events: Events, data: bytes) -> list[bytes]:
    try:
        return events.feed(data)
    except EventTooLarge:
        return []


def _session(scope: Scope) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"mcp-session-id"), None)


def _encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str).encode("utf-8", "replace")


def method_of(data: bytes) -> str | None:
    """Of a JSON-RPC message."""
    found = _object(data).get("method")
    return found if isinstance(found, str) else None


def name_of(data: bytes) -> str | None:
    """What a request names: a tool, a prompt, a URI; or the tool of REST."""
    message = _object(data)
    params = message.get("params")
    within = params if isinstance(params, dict) else message
    found = within.get("name", within.get("uri", within.get("tool_id")))
    return found if isinstance(found, str) else None


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
