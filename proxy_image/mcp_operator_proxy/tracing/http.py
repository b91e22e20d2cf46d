"""Spans of HTTP requests that are none of MCP: those of the REST interface, and those that are refused before they become one.

Names and attributes: OpenTelemetry's semantic conventions for HTTP servers.
"""

import time
from typing import Final

from starlette.types import Scope

from mcp_operator_proxy.tracing.context import of_headers
from mcp_operator_proxy.tracing.spans import MAX_TEXT, MAX_URI, Attributes, Failure, Trace, Tracer

CLOSED: Final = 499
"""The client has gone before the answer."""


def begun(tracer: Tracer, scope: Scope) -> Trace:
    return tracer.begin(of_headers(dict(scope["headers"])), None)


def refused(tracer: Tracer, scope: Scope, status: int, seconds: float, route: str | None) -> None:
    """A request was answered with `status` after that time, and nobody has looked into it."""
    trace = begun(tracer, scope)
    trace.start = time.time_ns() - int(seconds * 1e9)
    ended(trace, scope, status, route)


def ended(trace: Trace, scope: Scope, status: int, route: str | None) -> None:
    """`route` is the pattern of the path."""
    if not trace.sampled:
        return
    method, client = scope["method"], scope.get("client")
    found: Attributes = {
        "http.request.method": method,
        "url.path": scope["path"][:MAX_URI],
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
