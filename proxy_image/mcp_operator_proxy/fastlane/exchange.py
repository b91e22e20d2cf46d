"""One call on its way: from the request that was sent to the backend to the last byte of the client's answer.

It runs in the callbacks of the two connections, so it never waits. It ends in exactly one of four ways: an answer, a typed
error, given up (the client went away, or cancelled), or handed over to the full path, where the call certainly did not
run, may be repeated, or asks the client something.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from mcp.server.streamable_http import REQUEST_CANCELLED
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS
from mcp_types import INVALID_REQUEST, METHOD_NOT_FOUND, UNSUPPORTED_PROTOCOL_VERSION, URL_ELICITATION_REQUIRED
from pydantic import ValidationError

from mcp_operator_proxy.backends.ask import was_answered, wire_error
from mcp_operator_proxy.backends.classify import (
    AnswerTooLarge,
    BackendError,
    HTTPStatusFailure,
    NotMCPFailure,
    StreamEnded,
    classify,
    redact,
)
from mcp_operator_proxy.backends.http import MAX_ANSWER, MAX_ERROR_BODY
from mcp_operator_proxy.eras.uris import may_hold_uris
from mcp_operator_proxy.executions import of_failure
from mcp_operator_proxy.fastlane import results
from mcp_operator_proxy.fastlane.call import Incoming, Side
from mcp_operator_proxy.fastlane.connection import BackendConnection, Malformed
from mcp_operator_proxy.fastlane.meta import RESULT_META
from mcp_operator_proxy.fastlane.rewrite import (
    Answer,
    Request,
    answer,
    error_body,
    is_utf8,
    level_of,
    message_of,
    plain_error,
    progress_of,
    result_body,
    same_token,
    tool_result,
)
from mcp_operator_proxy.fastlane.route import Hot
from mcp_operator_proxy.fastlane.sink import FIRST_RESULT
from mcp_operator_proxy.fastlane.sse import Events, EventTooLarge, event
from mcp_operator_proxy.fastlane.upstream import session_headers
from mcp_operator_proxy.tracing.spans import CANCELLED, MAX_TEXT, TRACE, Failure, Trace, error_of
from mcp_operator_proxy.usage import Status

logger = logging.getLogger(__name__)

STREAM_ABOVE: Final = 256 * 1024
"""A JSON body that is larger goes on as it comes, where nothing in it has to be rewritten but its head."""
PING_SECONDS: Final = 15.0
"""A client that has waited for so long gets a comment in an event stream, so that nobody between takes it for dead."""
JSON: Final = b"application/json"
EVENTS: Final = b"text/event-stream"
_ERA_CODES: Final = frozenset({INVALID_REQUEST, METHOD_NOT_FOUND, UNSUPPORTED_PROTOCOL_VERSION})
_EMPTY: Final = (202, 204)
_PING: Final = b": ping\r\n\r\n"


class Exchange:
    """A `Receiver` of the backend's response. `over` is told how it ended: outcome (None: handed over) and HTTP status."""

    __slots__ = (
        "_chunks", "_connecting", "_connection", "_events", "_failed", "_head", "_kind", "_opened", "_over", "_paused", "_size",
        "_status", "_streaming", "_ticket", "deadline", "end_status", "heard", "hot", "incoming", "last_sent", "number", "outgoing",
        "request", "sent", "side", "sink", "started", "trace",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917
        self,
        incoming: Incoming,
        request: Request,
        side: Side,
        hot: Hot,
        number: int,
        outgoing: bytes,
        ticket: int,
        over: "Callable[[Exchange, Status | None, int], None]",
        trace: Trace | None = None,
    ) -> None:
        self.incoming = incoming
        self.request = request
        self.side = side
        self.hot = hot
        self.number = number
        """Its id with the backend."""
        self.outgoing = outgoing
        """The whole request."""
        self.sink = incoming.sink
        self.end_status: Status | None = None
        """How a call ended, where its outcome does not say it."""
        self.started = self.sent = self.last_sent = incoming.arrived
        self.heard = 0.0
        """When the last bytes of the answer came; 0: none have."""
        self.trace = trace
        """None: nothing is traced."""
        self.deadline = self.started + hot.timeout
        self._ticket = ticket
        self._over: Callable[[Exchange, Status | None, int], None] | None = over
        self._connection: BackendConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._status = 0
        self._kind = b""
        self._chunks: list[bytes] = []
        self._size = 0
        self._events: Events | None = None
        self._opened = False
        self._streaming = False
        self._paused = False
        self._failed = False
        self._head: re.Pattern[bytes] | None = None

    def start(self) -> None:
        """Send the request, on a connection that is open or on a new one."""
        pool = self.hot.upstream.pool
        connection = pool.take()
        if connection is not None:
            self._ready(connection)
            self.sent = time.perf_counter()
        else:
            self._connecting = pool.connect(self._ready, self._not_connected)

    def _ready(self, connection: BackendConnection) -> None:
        self._connecting = None
        self._connection = connection
        if self._paused:
            connection.transport.pause_reading()
        connection.send(self, self.outgoing)

    def _not_connected(self, error: Exception) -> None:
        self._connecting = None
        self._fail(BackendError(classify(error, secrets=self.hot.upstream.backend.secrets()), executed=False))

    @property
    def done(self) -> bool:
        return self._over is None

    # The client's connection

    def pause(self) -> None:
        """The client does not read fast enough."""
        self._paused = True
        if self._connection is not None:
            self._connection.transport.pause_reading()

    def resume(self) -> None:
        self._paused = False
        if self._connection is not None:
            self._connection.transport.resume_reading()

    def client_gone(self) -> None:
        """Nobody waits for the answer any more: the place at the gate is free again."""
        if self.done:
            return
        self.end_status = "cancelled"
        self._drop()
        if self.trace is not None:
            self.trace.failure = CANCELLED
        self._settle("error", 499, None)

    def cancel(self) -> None:
        """The client cancelled the call by a notification, which a legacy server gets too."""
        if self.done:
            return
        self.end_status = "cancelled"
        self._tell_cancelled("the client cancelled the request")
        self._drop()
        error = {"code": REQUEST_CANCELLED, "message": "Request cancelled"}
        self._send_error(msgspec.json.encode(error), "error", None, REQUEST_CANCELLED)

    def end(self) -> None:
        """The client's session has ended."""
        if self.done:
            return
        self.end_status = "cancelled"
        self._tell_cancelled("the client's session has ended")
        self._drop()
        error = {"code": INVALID_REQUEST, "message": "Session terminated before the request completed"}
        self._send_error(msgspec.json.encode(error), "error", None, INVALID_REQUEST)

    def tick(self, now: float) -> None:
        """A moment has passed: perhaps it takes too long, or the client has heard nothing for long."""
        if now >= self.deadline:
            self._tell_cancelled("the request timed out")
            self._drop()
            if self.incoming.backend_session is not None:
                self.incoming.backend_session.retired = True  # the exchange may still be open there
            self._fail(BackendError(classify(TimeoutError())))
        elif now - self.last_sent >= PING_SECONDS and not self._streaming:
            self._send_event(_PING)

    # The backend's connection

    def headed(self, status: int, headers: dict[bytes, bytes]) -> None:
        self._status = status
        kind = headers.get(b"content-type", b"")
        if kind != JSON:
            kind = kind.partition(b";")[0].strip().lower()
        if status >= 400:
            kind = JSON
        elif status in _EMPTY or status >= 300:
            kind = b"HTTP %d" % status
        elif headers.get(b"content-encoding", b"identity").lower() != b"identity":
            kind = b"a content encoding that was not asked for"
        elif kind == EVENTS:
            self._events = Events()
        self._kind = kind
        if kind not in (JSON, EVENTS):
            self._drop()
            what = kind.decode("latin-1") or "no content type"
            self._fail_with(NotMCPFailure(f"it answered with {what}"), executed=True)

    def received(self, chunk: bytes) -> None:
        self.heard = time.perf_counter()
        if self._events is not None:
            self._receive_events(self._events, chunk)
            return
        if self._streaming:
            self.last_sent = self.heard
            self.deadline = self.heard + self.hot.timeout
            self._failed = self._failed or b'"isError":true' in chunk  # within text its quotes would be escaped
            self.sink.write(chunk)
            return
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > STREAM_ABOVE:
            self._large()

    def ended(self) -> None:
        self._connection = None
        if self.done:
            return
        if self._streaming:
            self._settle("tool_error" if self._failed else "ok", 200, answered=True)
            self.sink.close()
        elif self._events is not None:
            self._broken(StreamEnded())
        else:
            chunks = self._chunks
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            if self._status >= 400:
                self._refused(body)
            else:
                self._answered(body)

    def lost(self, error: Exception | None) -> None:
        self._connection = None
        if not self.done:
            self._broken(error or StreamEnded())

    # Events

    def _receive_events(self, events: Events, chunk: bytes) -> None:
        try:
            found = events.feed(chunk)
        except EventTooLarge:
            self._drop()
            self._fail_with(AnswerTooLarge(MAX_ANSWER), executed=True)
            return
        for data in found:
            self._message(data)
            if self.done:
                return

    def _message(self, data: bytes) -> None:
        if not is_utf8(data):
            data = data.decode("utf-8", "replace").encode()  # as event streams are read
        message = answer(data)
        if message is None:
            self._drop()
            self._fail_with(NotMCPFailure("its answer is not a JSON-RPC message"), executed=True)
        elif not isinstance(message.method, str):
            if isinstance(message.result, msgspec.Raw) and not self._is_ours(message):
                return  # the answer to something else
            # The end of the exchange; what may still come on this connection is nothing of ours.
            connection, self._connection = self._connection, None
            self._finish(data, message)
            if connection is not None:
                connection.forget()
        elif isinstance(message.id, msgspec.Raw):
            self._asked(message.method, bytes(message.id))
        elif isinstance(message.params, msgspec.Raw) and self._wanted(message.method, bytes(message.params)):
            self._send_event(event(data))

    def _wanted(self, method: str, params: bytes) -> bool:
        if method == "notifications/progress":
            self.deadline = time.perf_counter() + self.hot.timeout
            token = progress_of(params)
            return token is not None and self.side.token is not None and same_token(token, self.side.token)
        return method == "notifications/message" and level_of(params) in self.side.levels

    def _asked(self, method: str, request_id: bytes) -> None:
        """A legacy server asks; the client of a call in the lane has not declared that it answers anything but pings."""
        if self.incoming.backend_session is None:
            return
        if method == "ping":
            body = result_body(request_id, b"{}")
        else:
            error = {"code": METHOD_NOT_FOUND, "message": f"the client does not support {method}"}
            body = error_body(request_id, msgspec.json.encode(error))
        self.hot.upstream.post_aside(session_headers(self.incoming.backend_session), body)

    # Answers

    def _answered(self, body: bytes) -> None:
        message = answer(body)
        if message is None or isinstance(message.method, str):
            self._fail_with(NotMCPFailure("its answer is not a JSON-RPC message"), executed=True)
        else:
            self._finish(body, message)

    def _is_ours(self, message: Answer) -> bool:
        return bytes(message.id or b"").strip(b'"') == b"%d" % self.number

    def _finish(self, body: bytes, message: Answer) -> None:
        if isinstance(message.error, msgspec.Raw):
            found = plain_error(message.error)
            if found is None:
                self._fail_with(NotMCPFailure("its answer is not a JSON-RPC message"), executed=True)
                return
            code, error = found
            if self.incoming.backend_session is None and 400 <= self._status < 500 and code in _ERA_CODES:
                # It may speak another era by now: that is found out there.
                self._hand_over(why=str(code), answered=True)
            else:
                if code == URL_ELICITATION_REQUIRED:
                    self.end_status = "unfinished"
                self._send_error(error, "error", True, code)
            return
        if not isinstance(message.result, msgspec.Raw) or not self._is_ours(message):
            self._fail_with(NotMCPFailure("its answer is not a JSON-RPC message"), executed=True)
            return
        side = self.side
        if self.request.method == "tools/call" and (self.hot.expose is None or not may_hold_uris(body)):
            spliced = tool_result(message.result, side.stamp_member, RESULT_META)
            if spliced is not None:
                outcome: Status = "tool_error" if spliced[1] else "ok"
                self._send(200, result_body(self.request.id, spliced[0]), outcome, answered=True)
                return
        self._finish_in_full(bytes(message.result))

    def _finish_in_full(self, raw: bytes) -> None:
        """As the full path does, object by object."""
        method, side = self.request.method, self.side
        session = self.incoming.backend_session
        version = (
            session.connected.protocol_version if session is not None else self.hot.upstream.spoken or side.version
        )
        try:
            result = results.object_of(raw, method, version)
        except ValidationError as error:
            self._fail_with(error, executed=True)
            return
        except (ValueError, RecursionError):
            self._fail_with(NotMCPFailure("its answer is not a JSON-RPC message"), executed=True)
            return
        if results.asks(result):  # the full path asks a legacy client, and seals the state that a modern one carries
            self._hand_over({FIRST_RESULT: result}, answered=True)
            return
        try:
            made = results.shown(method, side.version, result, self.hot.expose, side.stamp)
        except MCPError as error:
            self._send_error(_encoded(error), "error", True, error.error.code)
            return
        outcome: Status = "tool_error" if made.get("isError") else "ok"
        self._send(200, result_body(self.request.id, msgspec.json.encode(made)), outcome, answered=True)

    def _large(self) -> None:
        """A body that is not small: send it on as it comes, or go on to gather it."""
        if self._size > MAX_ANSWER or (self._status >= 400 and self._size > MAX_ERROR_BODY):
            self._drop()
            if self._status >= 400:
                self._refused(b"")
            else:
                self._fail_with(AnswerTooLarge(MAX_ANSWER), executed=True)
            return
        if self._head is not None or not self.side.may_stream or self.hot.expose is not None or self._opened:
            return
        self._head = _head_pattern(self.number)
        head = b"".join(self._chunks)
        found = self._head.match(head)
        if found is None or self._status >= 300:
            return
        self._streaming = self._opened = True
        self.sink.open(JSON, self.side.session)
        self.sink.write(b'{"jsonrpc":"2.0","id":' + self.request.id + b',"result":' + head[found.end() :])
        self._chunks = []

    def _refused(self, body: bytes) -> None:
        """An HTTP error: the session is gone, a JSON-RPC error comes with it, or it is no MCP answer."""
        status, session = self._status, self.incoming.backend_session
        in_session = session is not None and session.connected.session_id is not None
        if in_session and (status == 404 or (status == 400 and b"session" in body.lower())):
            assert session is not None
            session.retired = True
            self._hand_over(why=str(status), answered=True)
            return
        if status == 401 and self.hot.upstream.backend.renew is not None:
            self._hand_over(why=str(status), answered=True)  # another credential may be had, which takes the full path
            return
        message = answer(body)
        if message is not None and isinstance(message.error, msgspec.Raw) and plain_error(message.error) is not None:
            self._finish(body, message)
        else:
            self._fail_with(HTTPStatusFailure(status), executed=status >= 500)

    def _broken(self, error: Exception) -> None:
        """No answer came. Only a call that may be repeated is: by the full path."""
        if self._streaming:
            self.sink.broken()
            if self.trace is not None:
                self.trace.failure = Failure("ConnectionReset")
            self._settle("error", 200, answered=False)
            return
        if isinstance(error, Malformed):
            self._fail_with(NotMCPFailure("its answer is not HTTP"), executed=True)
            return
        if self.hot.repeatable and not self._opened:
            self._hand_over(why="ConnectionReset", answered=False)
            return
        self._fail_with(error, executed=True)

    # The ends

    def _fail_with(self, error: Exception, *, executed: bool) -> None:
        self._fail(BackendError(classify(error, secrets=self.hot.upstream.backend.secrets()), executed=executed))

    def _fail(self, error: BackendError) -> None:
        backend = self.hot.upstream.backend
        backend.nudge()
        self.end_status = of_failure(error)
        failure = wire_error(backend.id, error)
        if self.trace is not None:
            self.trace.of_backend = Failure(error.report.error_class, error.report.message)
        self._send_error(_encoded(failure), "error", was_answered(error), failure.error.code)

    def _send_error(self, error: bytes, outcome: Status, answered: bool | None, code: int) -> None:
        if self.trace is not None:
            said = redact(message_of(error), self.hot.upstream.backend.secrets(), MAX_TEXT)
            self.trace.failure = error_of(code, said)
        status = ERROR_CODE_HTTP_STATUS.get(code, 200) if self.side.modern else 200
        self._send(status, error_body(self.request.id, error), outcome, answered=answered)

    def _send(self, status: int, body: bytes, outcome: Status, *, answered: bool | None) -> None:
        if self._opened:
            self.sink.write(event(body))
            self._settle(outcome, 200, answered=answered)
            self.sink.close()
        else:
            self._settle(outcome, status, answered=answered)
            self.sink.answer(status, body, self.side.session)

    def _send_event(self, data: bytes) -> None:
        if not self._opened:
            self._opened = True
            self.sink.open(EVENTS, self.side.session)
        self.last_sent = time.perf_counter()
        self.sink.write(data)

    def _hand_over(self, scope: dict[str, Any] | None = None, *, answered: bool | None, why: str | None = None) -> None:
        """`why`: what was wrong with the answer, for the trace."""
        scope = scope or {}
        if self.trace is not None:
            scope[TRACE] = self.trace
            self.trace.of_backend = Failure(why) if why is not None else None
        self._settle(None, 0, answered)
        self.sink.hand_over(scope)

    def _tell_cancelled(self, reason: str) -> None:
        """A legacy server is told by a notification, a modern one by the end of the connection."""
        if self.incoming.backend_session is None or self._connection is None:
            return
        params = {"requestId": self.number, "reason": reason}
        body = msgspec.json.encode({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        self.hot.upstream.post_aside(session_headers(self.incoming.backend_session), body)

    def _drop(self) -> None:
        """Leave the backend's answer where it is."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None

    def _settle(self, outcome: Status | None, status: int, answered: bool | None) -> None:
        over, self._over = self._over, None
        assert over is not None
        if self._paused and self._connection is not None:
            self._connection.transport.resume_reading()
        self.hot.upstream.backend.gate.leave(answered, self._ticket)
        over(self, outcome, status)


def _encoded(error: MCPError) -> bytes:
    return msgspec.json.encode(error.error.model_dump(mode="json", by_alias=True, exclude_none=True))


def _head_pattern(number: int) -> re.Pattern[bytes]:
    space = rb"[ \t\r\n]*"
    parts = (rb"\{", rb'"jsonrpc"', b":", rb'"2\.0"', b",", rb'"id"', b":", b"%d" % number, b",", rb'"result"', b":")
    return re.compile(space + space.join(parts))
