"""Which requests the lane takes: those that it fully understands, of callers that may make them.

`take` is called with a whole request. It returns False, having changed nothing, for a request that the full path has to
answer: everything that is refused is refused there, in the full path's words.
"""

import asyncio
import itertools
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from mcp.shared.inbound import decode_header_value
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from mcp_operator_proxy.access import Line
from mcp_operator_proxy.auth import Principal, same_owner
from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.depth import deeper
from mcp_operator_proxy.eras.freshness import STALE
from mcp_operator_proxy.fastlane.call import Head, Incoming, Side
from mcp_operator_proxy.fastlane.client import Client
from mcp_operator_proxy.fastlane.exchange import Exchange
from mcp_operator_proxy.fastlane.meta import ModernMeta, ModernMetas, is_token, legacy_meta, plain_meta
from mcp_operator_proxy.fastlane.recorded import RecordedExchange, RecordingSink
from mcp_operator_proxy.fastlane.rewrite import (
    LIST_KEYS,
    NAME_KEYS,
    Request,
    call_body,
    cancelled,
    parse,
    progress_token,
    result_body,
    without,
)
from mcp_operator_proxy.fastlane.route import Hot, Route
from mcp_operator_proxy.fastlane.sink import Sink
from mcp_operator_proxy.fastlane.spent import ENOUGH, ENOUGH_LISTS, Spent
from mcp_operator_proxy.fastlane.upstream import Upstream, session_headers
from mcp_operator_proxy.guard import refusal
from mcp_operator_proxy.policy import ALLOW_ALL, is_open
from mcp_operator_proxy.services.windows import Call, Window
from mcp_operator_proxy.table import Kind
from mcp_operator_proxy.tracing.context import parted, spliced
from mcp_operator_proxy.tracing.lane import settle
from mcp_operator_proxy.usage import Status

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy
    from mcp_operator_proxy.recording import Recorder
    from mcp_operator_proxy.services.audit import Audit
    from mcp_operator_proxy.services.limits import Limits
    from mcp_operator_proxy.state import State
    from mcp_operator_proxy.tracing.lane import LaneTracing

logger = logging.getLogger(__name__)

MAX_BODY: Final = 256 * 1024
"""Bytes of a request that the lane takes; a larger one goes the full way."""
SWITCH: Final = "MCP_PROXY_FAST_LANE"
"""Environment variable; `off` sends every request the full way."""
TICK_SECONDS: Final = 0.1
_FIRST_NUMBER: Final = 10**9
"""Far from the ids that the SDK's sessions use, with which the lane shares sessions of legacy backends."""
_HANDSHAKE: Final = frozenset(version.encode() for version in HANDSHAKE_PROTOCOL_VERSIONS)
_MODERN: Final = frozenset(version.encode() for version in MODERN_PROTOCOL_VERSIONS)
_ODD: Final = frozenset({b"expect", b"upgrade", b"content-encoding", b"last-event-id", b"trailer"})
_KINDS: Final[Mapping[str, Kind]] = {"tools/call": "tool", "prompts/get": "prompt", "resources/read": "resource"}
_CACHED: Final = 4096
_CACHED_BYTES: Final = 1024
"""Of a key; nobody fills the memory with what is found only once."""
Headers = Sequence[tuple[bytes, bytes]]


class _Declined(Exception):
    """The full path has to answer."""


class Lane:
    """One for each proxy; `close` it in the end."""

    def __init__(self, proxy: "Proxy") -> None:
        self.enabled = True
        """False: it declines everything."""
        self._proxy = proxy
        self._tallies = proxy.metrics.tallies
        self._spent = Spent(self._tallies)
        self._gathered = self._spent.gathered
        self._tallies.settle = proxy.usage.settle = self.settle = self._spent.settle
        self.recorder: Recorder | None = None
        """While somebody watches."""
        self._off = os.environ.get(SWITCH, "on").lower() in ("off", "0", "false")
        self._state: State | None = None
        self._routes: dict[bytes, Route] = {}
        self._upstreams: dict[Backend, Upstream] = {}
        self._verdicts: dict[tuple[bytes | str | None, ...], bool] = {}
        self._metas = ModernMetas()
        self._limits: Limits | None = None
        self._audit: Audit | None = None
        self.tracing: LaneTracing | None = None
        self._in_flight: set[Exchange] = set()
        proxy.metrics.in_flight.beside = self.__len__
        self._numbers = itertools.count(_FIRST_NUMBER)
        self._ticking: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Calls in flight."""
        return len(self._in_flight)

    def connections(self, backend: Backend) -> tuple[int, int]:
        """With a server: in use, idle. From any thread."""
        upstream = self._upstreams.get(backend)
        return (0, 0) if upstream is None else upstream.counts()

    @property
    def leaving(self) -> bool:
        """Whether clients are asked to go elsewhere: the process ends soon."""
        return self._proxy.draining

    def serves(self, target: bytes) -> bool:
        """Whether a request target is the path of a route, as it stands in the configuration."""
        if self._proxy.state is not self._state:
            self._renew()
        return target in self._routes

    def take(
        self,
        target: bytes,
        headers: Headers,
        body: bytes,
        sink: Sink,
        *,
        scheme: str,
        client: str | None,
        known: Principal | None = None,
    ) -> "Exchange | bool":
        """Begin to answer a POST, or decline (False).

        `known` is the caller where an application around the proxy has authenticated it. Returns the exchange whose end
        the sink will hear of; True where the sink has been answered already.
        """
        head = self.head(target, headers, scheme=scheme, known=known)
        return head is not None and self.go(head, body, sink, client)

    def head(self, target: bytes, headers: Headers, *, scheme: str, known: Principal | None = None) -> Head | None:
        """What is known of a request by its head; None where the full path has to answer it."""
        if self._proxy.state is not self._state:
            self._renew()
        route, state = self._routes.get(target), self._state
        if route is None or state is None:
            return None
        found = dict(headers)
        if len(found) != len(headers) or not _ODD.isdisjoint(found) or not self._passes(found, scheme):
            return None
        if state.authenticator is not None:
            shown = found.get(b"authorization"), found.get(b"x-api-key")
            known = state.authenticator.authenticate(*shown)
            if known is None and not state.authenticator.lets_in(*shown):
                return None
        version = found.get(b"mcp-protocol-version")
        if version is None or version in _HANDSHAKE:
            return Head(route, state, found, known, None)
        return Head(route, state, found, known, version.decode()) if version in _MODERN else None

    def go(self, head: Head, body: bytes, sink: Sink, client: str | None) -> "Exchange | bool":
        """As `take`, of a request whose head is known. Declines where the state is another by now."""
        if head.state is not self._proxy.state or not self.enabled or self._proxy.draining:
            return False
        limits = head.state.config.limits
        if len(body) > limits.max_bytes or deeper(body, limits.max_depth):
            return False
        if head.expires is not None and head.expires <= time.time():
            return False
        if self.recorder is not None and self.recorder.wants(head.principal):
            sink = RecordingSink(self.recorder, head, body, sink)
        incoming = Incoming(head, sink, client)
        try:
            return self._legacy(incoming, body) if head.version is None else self._modern(incoming, body, head.version)
        except _Declined:
            return False

    # What holds for a whole client: cached by what it always sends

    def _passes(self, found: Mapping[bytes, bytes], scheme: str) -> bool:
        key = (
            found.get(b"host"),
            found.get(b"origin"),
            found.get(b"content-type"),
            found.get(b"accept"),
            scheme,
        )
        verdict = self._verdicts.get(key)
        if verdict is None:
            if sum(len(part or b"") for part in key) > _CACHED_BYTES:
                return self._judge(found, scheme)
            if len(self._verdicts) >= _CACHED:
                self._verdicts.clear()
            verdict = self._verdicts[key] = self._judge(found, scheme)
        return verdict

    def _judge(self, found: Mapping[bytes, bytes], scheme: str) -> bool:
        if b"origin" in found:  # a browser's: its answers need headers of their own (CORS)
            return False
        config = self._state.config if self._state else None
        if refusal(config, scheme=scheme, host=found.get(b"host", b"").decode("latin-1"), origin=None):
            return False
        kind = found.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":
            return False
        accepted = {part.partition(b";")[0].strip().lower() for part in found.get(b"accept", b"").split(b",")}
        return b"*/*" in accepted or {b"application/json", b"text/event-stream"} <= accepted

    def _renew(self) -> None:
        state = self._state = self._proxy.state
        limits = self._proxy.services.limits
        self._limits = None if limits.unlimited else limits
        audit = self._proxy.services.audit
        self._audit = audit if audit.on else None
        self.tracing = self._proxy.services.tracing.lane
        self._verdicts.clear()
        backends = set(state.backends.values()) if state else set()
        for backend in [b for b in self._upstreams if b not in backends]:
            self._upstreams.pop(backend).close()
        self._routes = {}
        if self._off:
            return
        for path, endpoint in self._proxy.endpoints.items():
            table = state.table.get(path) if state else None
            if table is not None and state is not None and path not in state.personal_on:
                tallies = {method: self._tallies.of(path, method) for method in (*NAME_KEYS, *LIST_KEYS)}
                self._routes[path.encode()] = Route(path, table, endpoint, tallies, self._proxy.usage)

    # The legacy era: on the client's session

    def _legacy(self, incoming: Incoming, body: bytes) -> "Exchange | bool":
        head = incoming.head
        session = head.route.endpoint.sessions.find(head.session_id.decode("latin-1"))
        if session is None or not same_owner(session.principal, head.principal):
            return False
        owner = Client.of(session)
        if owner is None:
            return False
        request = parse(body)
        if request is None:
            return self._cancel(owner, body)
        given = _without_context(incoming, request.meta)
        if request.method in LIST_KEYS:
            return self._list(incoming, request, owner.version, head.session_id)
        hot = self._hot(incoming, request)
        token = None if given is None else _token(given)
        if request.id in owner.calls:
            return False
        if (spoken := hot.upstream.spoken) is not None:
            if owner.asks and hot.upstream.backend.may_shake_hands:
                return False  # a server of both eras asks such a client over a session
            meta = legacy_meta(given, owner.stamp(spoken), owner.front.log_level or "debug")
            more = hot.header_lines(spoken)
        else:
            # What a legacy server tells or asks outside of the call's own response is the SDK session's to relay.
            backend_session = owner.front.held(hot.upstream.backend)
            if backend_session is None or owner.asks or token is not None:
                return False
            meta = None if given is None else plain_meta(given)
            more = session_headers(backend_session)
            incoming.backend_session = backend_session
        incoming.owner, incoming.session = owner, session
        return self._begin(incoming, request, hot, owner.side(token, head.route.stamp), meta, more)

    def _cancel(self, owner: Client, body: bytes) -> bool:
        """A notification that a call of the lane is not wanted any more. The full path answers it in any case."""
        if owner.calls and b"notifications/cancelled" in body:
            exchange = owner.calls.get(cancelled(body) or b"")
            if exchange is not None:
                asyncio.get_running_loop().call_soon(exchange.cancel)
        return False

    # The modern era: each request for itself

    def _modern(self, incoming: Incoming, body: bytes, version: str) -> "Exchange | bool":
        found, route = incoming.head.found, incoming.head.route
        request = parse(body)
        if request is None or request.meta is None or found.get(b"mcp-method") != request.method.encode():
            return False
        given = _without_context(incoming, request.meta) or b""
        token = _token(given)
        base = given if token is None else without(given, _TOKEN) or b""
        if request.method in LIST_KEYS:
            return self._meta(base, version, version) is not None and self._list(incoming, request, version, None)
        name = found.get(b"mcp-name", b"")
        if name != request.name.encode() and decode_header_value(name.decode("latin-1")) != request.name:
            return False
        hot = self._hot(incoming, request)
        spoken = hot.upstream.spoken
        meta = self._meta(base, version, spoken) if spoken is not None else None
        if meta is None or spoken is None:
            return False
        sent = meta.sent if token is None else meta.sent[:-1] + b',"progressToken":' + token + b"}"
        return self._begin(incoming, request, hot, route.side(meta, token), sent, hot.header_lines(spoken))

    def _meta(self, base: bytes, version: str, spoken: str) -> ModernMeta | None:
        meta = self._metas.read(base, spoken)
        return meta if meta is not None and meta.version == version else None

    # Both

    def _hot(self, incoming: Incoming, request: Request) -> Hot:
        """What is called. Raises _Declined where the caller may not, or the lane cannot."""
        head = incoming.head
        route, state = head.route, head.state
        hot = route.hot(request.method, request.name, state, self._upstream)
        if hot is None or not hot.upstream.usable:
            raise _Declined
        if state.policy is not ALLOW_ALL:
            kind = _KINDS[request.method]
            if state.policy.refusal(head.principal, route.path, kind, request.name, hot.entry) is not None:
                raise _Declined
        return hot

    def _upstream(self, backend: Backend) -> Upstream:
        upstream = self._upstreams.get(backend)
        if upstream is None:
            upstream = self._upstreams[backend] = Upstream(backend)
        return upstream

    def _begin(  # noqa: PLR0917
        self, incoming: Incoming, request: Request, hot: Hot, side: Side, meta: bytes | None, more: bytes
    ) -> Exchange:
        """Send a call on. Raises _Declined where there is no place for it now."""
        upstream = hot.upstream
        counted = self._counted(incoming.head, hot) if self._limits is not None and hot.usage is not None else None
        ticket = upstream.backend.gate.try_enter()
        if not ticket:
            raise _Declined
        if counted:
            self._proxy.services.limits.add(counted)
            incoming.counted = counted
        number = next(self._numbers)
        trace = None
        if self.tracing is not None:
            trace, lines, members = self.tracing.begin(incoming, number)
            more, meta = more + lines, spliced(meta, members)
        else:
            found = incoming.head.found
            if (parent := found.get(b"traceparent")) is not None:
                more += b"traceparent: " + parent + b"\r\n"
                if (state := found.get(b"tracestate")) is not None:
                    more += b"tracestate: " + state + b"\r\n"
            if incoming.carried is not None:
                meta = spliced(meta, incoming.carried.members)
        outgoing = upstream.request(more, call_body(number, hot.body, request.arguments, meta))
        watched = self.recorder is not None and type(incoming.sink) is RecordingSink
        kind = RecordedExchange if watched else Exchange
        exchange = kind(incoming, request, side, hot, number, outgoing, ticket, self._over, trace)
        self._in_flight.add(exchange)
        if self._ticking is None:
            self._keep_time()
        incoming.enter(request.id, exchange)
        exchange.start()
        return exchange

    def _counted(self, head: Head, hot: Hot) -> list[Window]:
        """The rate limits' windows that a call of a tool belongs to. Raises _Declined where the full path has to ask."""
        assert self._limits is not None
        found = self._limits.lane(Call(head.principal, hot.entry.name, hot.upstream.backend.id, head.route.path))
        if found is None:
            raise _Declined
        return found

    def _over(self, exchange: Exchange, outcome: Status | None, status: int) -> None:
        incoming, request = exchange.incoming, exchange.request
        incoming.leave(request.id)
        self._in_flight.discard(exchange)
        if exchange.trace is not None:
            settle(exchange, exchange.trace, outcome)
        if outcome is None:
            for window in incoming.counted:  # the full path counts it
                window.take_back()
            self._tallies.lane_handed_over += 1
            return
        ended = time.perf_counter()
        seconds = ended - exchange.started
        hot = exchange.hot
        added = exchange.sent - exchange.started + ended - exchange.heard
        if outcome == "ok":
            gathered = self._gathered
            gathered.extend((hot, seconds, added))
            if len(gathered) >= ENOUGH:
                self.settle()
        else:
            self._count(exchange, outcome, seconds, added)
        self._observe(incoming, request, outcome, status, seconds, hot.upstream.backend.id)

    def _count(self, exchange: Exchange, outcome: Status, seconds: float, added: float) -> None:
        """A call that did not end well."""
        hot, how = exchange.hot, exchange.end_status
        hot.tally.add(outcome, seconds)
        self._tallies.lane_counted += 1
        if exchange.heard and outcome != "error":
            self._tallies.added["lane"].add(added)
        if hot.usage is None:
            return
        if how is None:
            hot.usage.add(outcome, seconds, time.time())
        else:
            hot.usage.record(how, seconds, time.time())

    def _observe(  # noqa: PLR0917
        self,
        incoming: Incoming,
        request: Request,
        outcome: str,
        status: int,
        seconds: float,
        server: str | None,
    ) -> None:
        head = incoming.head
        if self.recorder is not None and isinstance(incoming.sink, RecordingSink):
            incoming.sink.observed(request, outcome, seconds, server)
        if self._audit is not None and server is not None:
            self._audit.add_from_lane(incoming, request, outcome, seconds, time.time(), server)
        access = self._proxy.access
        if access is None or not head.state.config.access_log:
            return
        principal, trace = head.principal, head.found.get(b"traceparent")
        access.add(
            Line(
                time=time.time(),
                client=incoming.client,
                route=head.route.path,
                http="POST",
                status=status,
                method=request.method,
                name=request.name or None,
                outcome=outcome,
                seconds=seconds,
                lane=True,
                server=server,
                principal=None if principal is None else principal.name,
                trace=None if trace is None else trace.decode("latin-1"),
            )
        )

    def _list(self, incoming: Incoming, request: Request, version: str, session: bytes | None) -> bool:
        if not is_open(incoming.head.state.policy, incoming.head.principal):  # a list of the caller's own
            return False
        route = incoming.head.route
        fresh = self._proxy.freshness(route.path, request.method) if version in MODERN_PROTOCOL_VERSIONS else STALE
        page = route.lists.page(request.method, version, request.name, route.stamp, fresh)
        if page is None:
            return False
        if self.tracing is not None:
            self.tracing.listed(incoming, request, version)
        seconds = time.perf_counter() - incoming.arrived
        lists = self._spent.lists
        lists.extend((route.tallies[request.method], seconds))
        if len(lists) >= ENOUGH_LISTS:
            self.settle()
        if self._ticking is None:
            self._keep_time()
        self._observe(incoming, request, "ok", 200, seconds, None)
        incoming.sink.answer(200, result_body(request.id, page), session)
        return True

    # Time

    def _keep_time(self) -> None:
        self._ticking = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        self._spent.thread = threading.get_ident()

    def _tick(self) -> None:
        self.settle()
        now = time.perf_counter()
        for exchange in list(self._in_flight):
            if not exchange.done:
                exchange.tick(now)
        self._ticking = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick) if self._in_flight else None

    def close(self) -> None:
        """Give up what is in flight and close all connections."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        for exchange in list(self._in_flight):
            exchange.end()
        for upstream in self._upstreams.values():
            upstream.close()
        self._upstreams.clear()
        self._routes.clear()
        self.settle()
        self._state = None


_TOKEN: Final = frozenset({"progressToken"})


def _without_context(incoming: Incoming, meta: bytes | None) -> bytes | None:
    """A request's `_meta` without the context of a trace, which `incoming` has then: without it, it is the same each time."""
    if meta is None or meta.find(b'"trace') < 0:
        return meta
    incoming.carried, rest = parted(meta)
    return rest


def _token(meta: bytes | None) -> bytes | None:
    """The progress token, as JSON. Raises _Declined for what is none."""
    token = progress_token(meta)
    if token is not None and not is_token(token):
        raise _Declined
    return token
