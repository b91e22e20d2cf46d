"""Spans of HTTP requests that are none of MCP: those of the REST interface, and those that are refused before they become one.

Names and attributes: OpenTelemetry's semantic conventions for HTTP servers.
"""

import re
import time
from typing import Final

from starlette.types import Scope

from mcp_operator_proxy.tracing.context import of_lines
from mcp_operator_proxy.tracing.spans import MAX_TEXT, MAX_URI, Attributes, Failure, Trace, Tracer, current, passing

_HEADERS: Final = frozenset({b"traceparent", b"tracestate"})
_PRIVATE: Final = re.compile(r"(/sessions/|/oauth/start/).+", re.DOTALL)
"""A user's id, and what lets whoever has it sign in as that user."""
CLOSED: Final = 499
"""The client has gone before the answer."""


class Entered:
    """A request of the REST interface is being answered: what is asked of servers meanwhile belongs to it. `leave` it in the end."""

    def __init__(self, tracer: Tracer | None, scope: Scope) -> None:
        self._scope = scope
        self._trace = None if tracer is None else _begun(tracer, scope)
        self._current = current.set(self._trace)
        self._passing = passing.set(passed_on(scope) if tracer is None else ())

    def leave(self, status: int, route: str | None) -> None:
        """It was answered with `status`; `route` is the pattern of its path."""
        current.reset(self._current)
        passing.reset(self._passing)
        if self._trace is not None:
            _ended(self._trace, self._scope, status, route)


def passed_on(scope: Scope) -> tuple[tuple[str, str], ...]:
    """The headers of a client's trace, where nothing is traced here: they go on as they came."""
    return tuple((key.decode(), value.decode("latin-1")) for key, value in scope["headers"] if key in _HEADERS)


def _begun(tracer: Tracer, scope: Scope) -> Trace:
    return tracer.begin(of_lines(scope["headers"]), None)


def refused(tracer: Tracer, scope: Scope, status: int, seconds: float, route: str | None) -> None:
    """A request was answered with `status` after that time, and nobody has looked into it."""
    trace = _begun(tracer, scope)
    trace.start = time.time_ns() - int(seconds * 1e9)
    _ended(trace, scope, status, route)


def _ended(trace: Trace, scope: Scope, status: int, route: str | None) -> None:
    if not trace.sampled:
        return
    method, client = scope["method"], scope.get("client")
    found: Attributes = {
        "http.request.method": method,
        "url.path": _PRIVATE.sub(r"\1…", scope["path"])[:MAX_URI],
        "url.scheme": scope.get("scheme", "http"),
        "http.response.status_code": status,
        "network.transport": "tcp",
        "network.protocol.name": "http",
        "network.protocol.version": scope.get("http_version", "1.1"),
    }
    if client:
        found["client.address"] = client[0]
    if route is not None:
        found["http.route"] = route
    if scope.get("mcp_method") == "tools/call":
        found["gen_ai.operation.name"] = "execute_tool"
        found["gen_ai.tool.name"] = str(scope.get("mcp_name"))[:MAX_TEXT]
    kind = "cancelled" if status == CLOSED else str(status) if status >= 400 else scope.get("mcp_outcome")
    failure = None
    if status >= 500:
        failure = Failure(str(status))
    elif kind not in (None, "ok"):  # what the client has done wrong is no error of the server: its status stays unset
        found["error.type"] = str(kind)
    trace.end(f"{method} {route}" if route is not None else method, found, failure)
