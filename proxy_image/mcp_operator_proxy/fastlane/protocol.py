"""uvicorn's HTTP/1.1 protocol with the lane in front: a request that the lane takes never becomes an ASGI task.

A POST to a route is held back until its body is complete, then offered to the lane. Declined, it goes uvicorn's own way
as if nothing had been. Taken, `_Cycle` stands where uvicorn's cycle of the request would, so that uvicorn's own code for
keep-alive, pipelining, disconnects and the orderly stop goes on to work (tests/unit/proxy/fastlane/test_uvicorn.py
watches what is used of it).
"""

import asyncio
import logging
from typing import Any, ClassVar, Final, NamedTuple, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from mcp_operator_proxy.fastlane.bounded import BoundedProtocol
from mcp_operator_proxy.fastlane.call import Head
from mcp_operator_proxy.fastlane.exchange import Exchange
from mcp_operator_proxy.fastlane.lane import MAX_BODY, Lane
from mcp_operator_proxy.fastlane.repeats import Repeats
from mcp_operator_proxy.fastlane.sink import TRIED

logger = logging.getLogger(__name__)
COPIED: Final = 16 * 1024
"""A body up to this size is copied behind its head, so that both are one write."""
_LOOPBACK: Final = ("127.0.0.1", "::1", "")
_FORWARDED: Final = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})


class _Cycle:
    """The response to one request that the lane has taken, and a `Sink`. The names without comments are uvicorn's."""

    __slots__ = (
        "body", "disconnected", "exchange", "headers", "keep_alive", "more_body", "opened", "protocol",
        "response_complete", "target",
    )  # fmt: skip

    def __init__(self, protocol: "LaneProtocol", target: bytes, body: bytes, *, keep_alive: bool) -> None:
        self.protocol = protocol
        self.headers = protocol.headers
        self.target = target
        self.body = body
        self.keep_alive = keep_alive
        self.more_body = False
        self.disconnected = False
        self.response_complete = False
        self.exchange: Exchange | None = None
        self.opened = False

    @property
    def message_event(self) -> "_Cycle":
        return self  # not an attribute: a cycle of references would wait for the garbage collector after each call

    def set(self) -> None:
        """uvicorn wakes the application: here, only when the client has gone."""
        if self.disconnected and self.exchange is not None:
            exchange, self.exchange = self.exchange, None
            exchange.client_gone()

    # Sink

    def answer(self, status: int, body: bytes, session: bytes | None) -> None:
        apart = len(body) > COPIED
        self._head(status, b"application/json", b"content-length: %d\r\n" % len(body), session, b"" if apart else body)
        if apart and not self.disconnected:
            self.protocol.transport.write(body)
        self._complete()

    def open(self, content_type: bytes, session: bytes | None) -> None:
        self.opened = True
        cache = b"cache-control: no-cache, no-transform\r\nx-accel-buffering: no\r\n"
        more = b"transfer-encoding: chunked\r\n" + (cache if content_type == b"text/event-stream" else b"")
        self._head(200, content_type, more, session, b"")

    def write(self, data: bytes) -> None:
        if not self.disconnected:
            self.protocol.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def close(self) -> None:
        if not self.disconnected:
            self.protocol.transport.write(b"0\r\n\r\n")
        self._complete()

    def broken(self) -> None:
        self.keep_alive = False
        self._complete()

    def hand_over(self, scope: dict[str, Any]) -> None:
        self.exchange = None
        self.protocol.hand_over(self, scope)

    def _head(self, status: int, content_type: bytes, more: bytes, session: bytes | None, body: bytes) -> None:
        if self.disconnected:
            return
        self.protocol.transport.write(
            b"%b%bcontent-type: %b\r\n%b%b%b\r\n%b"
            % (
                STATUS_LINE[status],
                self.protocol.default_headers(),
                content_type,
                more,
                b"" if session is None else b"mcp-session-id: %b\r\n" % session,
                b"" if self.keep_alive else b"connection: close\r\n",
                body,
            )
        )

    def _complete(self) -> None:
        self.exchange = None
        self.response_complete = True
        self.protocol.lane_complete(self)


class _Known(NamedTuple):
    """What was made of the head of a request."""

    target: bytes
    headers: list[tuple[bytes, bytes]]
    head: Head


class LaneProtocol(BoundedProtocol):
    """Use a subclass with `lane` set, as `lane_protocol` makes it."""

    lane: ClassVar[Lane]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._held: list[bytes] | None = None
        self._held_size = 0
        self._stopping = False
        self._taken: _Cycle | None = None
        self._idle_since = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        host = self.client[0] if self.client else ""
        self._proxied = self.config.proxy_headers and host in _LOOPBACK
        """uvicorn's middleware takes the client's address and scheme from headers of a proxy on this machine, so it has to."""
        self._default_headers: tuple[list[tuple[bytes, bytes]], bytes] | None = None
        self._repeats: Repeats[_Known] = Repeats()
        self._alone: bytes | None = None
        """What has just come, where no message was under way before it."""

    def connection_lost(self, exc: Exception | None) -> None:
        taken = self._taken
        if taken is not None:
            self._taken = None
            taken.disconnected = True
            taken.set()
        self._held = None
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        super().connection_lost(exc)

    def default_headers(self) -> bytes:
        """Those that uvicorn sends with every response; it makes a new list of them each second."""
        headers = self.server_state.default_headers
        if self._default_headers is None or self._default_headers[0] is not headers:
            lines = b"".join(b"%b: %b\r\n" % header for header in headers)
            self._default_headers = headers, lines
        return self._default_headers[1]

    # Requests

    def data_received(self, data: bytes) -> None:
        if self._incomplete_since is None:
            if (found := self._repeats.find(data)) is not None and self._go(*found):
                return
            self._alone = data
        super().data_received(data)
        self._alone = None

    def _go(self, known: "_Known", body: bytes) -> bool:
        """Offer a request to the lane whose head has come before; as if nothing had been where it does not take it."""
        if self._stopping or not (self.cycle is None or self.cycle.response_complete):
            return False
        self._unset_keepalive_if_required()
        self.url, self.headers, self.expect_100_continue = known.target, known.headers, False
        taken = self._offer(_Cycle(self, known.target, body, keep_alive=True), known.head)
        if not taken:
            self._repeats.forget()
        return taken

    def on_message_begin(self) -> None:
        """As uvicorn does, but without the scope: few requests of the lane ever need one."""
        self.begun()
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def _scope(self, headers: list[tuple[bytes, bytes]]) -> Scope:
        """uvicorn's scope of a request with these headers."""
        now = self.url, self.headers, self.expect_100_continue
        HttpToolsProtocol.on_message_begin(self)
        self.url, self.headers, self.expect_100_continue = now
        scope = cast("Scope", self.scope)
        scope["headers"] = headers
        return scope

    def on_headers_complete(self) -> None:
        parser = self.parser
        if (
            parser.get_method() == b"POST"
            and (self.cycle is None or self.cycle.response_complete)
            and self.lane.serves(self.url)
            and not self.expect_100_continue
            and not parser.should_upgrade()
            and parser.get_http_version() == "1.1"
            and self.limit_concurrency is None
            and not self.root_path
        ):
            self._in_head = False
            self._held = []
            self._held_size = 0
        else:
            self._scope(self.headers)
            super().on_headers_complete()
            self._let_go()

    def on_body(self, body: bytes) -> None:
        held = self._held
        if held is None:
            super().on_body(body)
            return
        held.append(body)
        self._held_size += len(body)
        if self._held_size > MAX_BODY:
            self._decline(b"".join(held))

    def on_message_complete(self) -> None:
        held = self._held
        if held is None:
            super().on_message_complete()
            return
        self._incomplete_since = None
        body = held[0] if len(held) == 1 else b"".join(held)
        keep_alive = self.parser.should_keep_alive() and not self._stopping and not self.lane.leaving
        cycle = _Cycle(self, self.url, body, keep_alive=keep_alive)
        head = self._known_head()
        if head is None or not self._offer(cycle, head):
            self._decline(body)
            super().on_message_complete()
            return
        self._held = None
        if self._alone is not None and keep_alive and b"content-length" in head.found:
            self._repeats.keep(self._alone, body, _Known(self.url, self.headers, head))

    def _known_head(self) -> Head | None:
        if self._proxied and _names_another(self.headers):
            return None
        try:
            return self.lane.head(self.url, self.headers, scheme=self.scheme or "http")
        except Exception:
            logger.exception("the fast lane failed on a request's head")
            return None

    def _offer(self, cycle: _Cycle, head: Head) -> bool:
        """Whether the lane has taken the request."""
        before, self.cycle = self.cycle, cast("RequestResponseCycle", cycle)
        self._taken = cycle
        try:
            taken = self.lane.go(head, cycle.body, cycle, self.client[0] if self.client else None)
        except Exception:
            logger.exception("the fast lane failed on a request")
            if cycle.opened or cycle.response_complete:
                self.transport.close()
                return True
            taken = False
        if taken is False:
            self.cycle, self._taken = before, None
            return False
        if isinstance(taken, Exchange) and not taken.done:
            cycle.exchange = taken
        return True

    def _decline(self, body: bytes) -> None:
        """Go uvicorn's way with the request and what there is of its body."""
        self._held = None
        self._scope(self.headers)[TRIED] = True
        super().on_headers_complete()
        if self._stopping:
            self.cycle.keep_alive = False
        self._let_go()
        super().on_body(body)

    # Responses

    def lane_complete(self, cycle: _Cycle) -> None:
        if self._taken is cycle:
            self._taken = None
        if cycle.disconnected:
            return
        if not cycle.keep_alive:
            self.transport.close()
        if self.pipeline or self.flow.read_paused or self.transport.is_closing():
            self.on_response_complete()
            return
        # As uvicorn does, but with one timer for many requests instead of one for each.
        self.server_state.total_requests += 1
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)

    def _close_if_idle(self) -> None:
        self._idle_timer = None
        if self.transport.is_closing():
            return
        if self._held is not None or not self.cycle.response_complete:
            left = float(self.timeout_keep_alive)
        else:
            left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left <= 0:
            if self.timeout_keep_alive_task is None:  # else the full path has answered since
                self.timeout_keep_alive_handler()
            return
        self._idle_timer = self.loop.call_later(left, self._close_if_idle)

    def hand_over(self, cycle: _Cycle, more: dict[str, Any]) -> None:
        """Let the application answer a request after all, with `more` in its scope; perhaps within a response that has begun."""
        if self._taken is cycle:
            self._taken = None
        if cycle.disconnected or self.transport.is_closing():
            return
        scope = self._scope(list(cycle.headers))
        path = cycle.target
        scope.update({**more, TRIED: True})
        scope.update(path=path.decode("ascii"), raw_path=path, query_string=b"", method="POST")
        full = RequestResponseCycle(
            scope=cast("Any", scope),
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=cycle.keep_alive,
            on_response=self.on_response_complete,
        )
        full.body = bytearray(cycle.body)
        full.more_body = False
        full.message_event.set()
        app: ASGIApp = cast("ASGIApp", self.app)
        if cycle.opened:
            full.response_started = full.chunked_encoding = True
            app = _continued(app)
        cycle.response_complete = True
        if self.cycle is cast("RequestResponseCycle", cycle):
            self.cycle = full
        self._start_asgi_task(full, cast("Any", app))

    # Flow and life

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._taken is not None and self._taken.exchange is not None:
            self._taken.exchange.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._taken is not None and self._taken.exchange is not None:
            self._taken.exchange.resume()

    def leave(self) -> None:
        """Answer what is asked, and let the connection end with that answer: its client should open one elsewhere.

        Closed right away, it would break a request that is just on its way. One whose answer has begun ends with the next.
        """
        if self._taken is not None:
            self._taken.keep_alive = self._taken.keep_alive and self._taken.opened
        else:
            self._let_go()

    def _let_go(self) -> None:
        cycle = self.cycle
        begun = not isinstance(cycle, RequestResponseCycle) or cycle.response_started
        if self.lane.leaving and not begun and not self.pipeline:
            cycle.keep_alive = False

    def shutdown(self) -> None:
        if self._held is not None:  # a request is coming in
            self._stopping = True
        else:
            super().shutdown()
        if self._taken is not None:
            self._taken.keep_alive = False


def _names_another(headers: list[tuple[bytes, bytes]]) -> bool:
    return not _FORWARDED.isdisjoint(dict(headers))


def _continued(app: ASGIApp) -> ASGIApp:
    """`app` within an event stream that has begun: its own beginning is left out."""

    async def continued(scope: Scope, receive: Receive, send: Send) -> None:
        async def rest(message: Message) -> None:
            if message["type"] != "http.response.start":
                await send(message)
            elif dict(message["headers"]).get(b"content-type", b"").partition(b";")[0] != b"text/event-stream":
                raise RuntimeError("the full path answered a request that it took over with something else than events")

        await app(scope, receive, rest)

    return continued


def lane_protocol(lane: Lane) -> type[HttpToolsProtocol]:
    """The protocol class to give to uvicorn as `http`."""
    return type("LaneProtocol", (LaneProtocol,), {"lane": lane})
