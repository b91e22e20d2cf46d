"""The fast lane's part: a trace for each call that it takes, and its two spans when the call has ended."""

import time
from typing import TYPE_CHECKING

from mcp_operator_proxy.tracing import peers
from mcp_operator_proxy.tracing.context import of_headers
from mcp_operator_proxy.tracing.spans import (
    TOOL_ERROR,
    Failure,
    Trace,
    Tracer,
    header_lines,
    meta_members,
    request_attributes,
    span_name,
)

if TYPE_CHECKING:
    from mcp_operator_proxy.fastlane.call import Incoming
    from mcp_operator_proxy.fastlane.exchange import Exchange
    from mcp_operator_proxy.fastlane.rewrite import Request


class LaneTracing:
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin(self, incoming: "Incoming", number: int) -> tuple[Trace, bytes, bytes]:
        """The trace of a call that goes to a server under the id `number`, and its context as header lines and members of `_meta`."""
        trace = self._of(incoming)
        leg = trace.branch()
        if leg is None:
            return trace, header_lines(trace.context), meta_members(trace.context)
        leg.request_id = str(number)
        trace.leg = leg
        return trace, header_lines(leg.context), meta_members(leg.context)

    def listed(self, incoming: "Incoming", request: "Request", version: str) -> None:
        """A list has been answered from memory."""
        trace = self._of(incoming)
        if trace.sampled:
            trace.end(request.method, _of_client(incoming, request, version), None)

    def _of(self, incoming: "Incoming") -> Trace:
        carried = incoming.carried
        return self._tracer.begin(of_headers(incoming.head.found), None if carried is None else carried.context)


def settle(exchange: "Exchange", trace: Trace, outcome: str | None) -> None:
    """A call has ended with `outcome`; None: the full path goes on with it, and with the trace."""
    leg, trace.leg = trace.leg, None
    if leg is None:
        return
    incoming, request, hot = exchange.incoming, exchange.request, exchange.hot
    now, wall = time.perf_counter(), time.time_ns()
    trace.start = wall - int((now - incoming.arrived) * 1e9)
    failure = TOOL_ERROR if outcome == "tool_error" else trace.failure
    session = incoming.backend_session
    version = session.connected.protocol_version if session is not None else hot.upstream.spoken
    asked = request_attributes(request.method, hot.entry.name, version)
    asked["jsonrpc.request.id"] = leg.request_id or ""
    asked |= peers.server(hot.upstream.backend, None if session is None else session.connected.session_id)
    heard = wall - int((now - exchange.heard) * 1e9) if exchange.heard else wall
    leg.end(span_name(request.method, asked), asked, trace.of_backend or failure, heard)
    if outcome is None:
        trace.failure = trace.of_backend = None
        return
    got = _of_client(incoming, request, exchange.side.version)
    trace.end(span_name(request.method, got), got, failure or (Failure("error") if outcome == "error" else None))


def _of_client(incoming: "Incoming", request: "Request", version: str) -> "dict[str, str | int]":
    head = incoming.head
    name = request.name if request.method in _NAMED else ""
    found = request_attributes(request.method, name, version)
    found["jsonrpc.request.id"] = request.id.decode().strip('"')
    found["mcp_operator.route"] = head.route.path
    return found | peers.client(incoming.client, head.session_id.decode("latin-1"))


_NAMED = frozenset({"tools/call", "prompts/get", "resources/read"})
