"""The full path's part: spans of the requests that FastMCP answers."""

from collections.abc import Callable

from fastmcp.telemetry import suppress_fastmcp_telemetry
from mcp.server.context import CallNext, HandlerResult
from mcp_types import INVALID_PARAMS

from mcp_operator_proxy.backends.relay import FrontContext
from mcp_operator_proxy.tracing import peers
from mcp_operator_proxy.tracing.asking import failure_of, says_failed, told
from mcp_operator_proxy.tracing.context import of_lines, of_meta
from mcp_operator_proxy.tracing.http import passed_on
from mcp_operator_proxy.tracing.spans import (
    MAX_TEXT,
    TOOL_ERROR,
    TRACE,
    Failure,
    Trace,
    Tracer,
    current,
    passing,
    request_attributes,
    span_name,
    target_of,
)


class Traced:
    """Middleware of one route's server."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.tracer: Callable[[], Tracer | None] = lambda: None
        """What traces at the moment; None: nothing does."""

    async def __call__(self, ctx: FrontContext, call_next: CallNext) -> HandlerResult:
        if ctx.request_id is None:
            return await call_next(ctx)
        tracer = self.tracer()
        if tracer is None:
            return await _passed_on(ctx, call_next)
        trace = _begun(ctx, tracer)
        token, failure = current.set(trace), None
        try:
            with suppress_fastmcp_telemetry():  # spans of this request are made here
                result = await call_next(ctx)
        except BaseException as error:
            failure = failure_of(error)
            if (decision := getattr(error, "decision", None)) is not None:
                trace.attributes["mcp_operator.decision"] = decision
            raise
        else:
            failure = TOOL_ERROR if ctx.method == "tools/call" and says_failed(result) else None
            return result
        finally:
            current.reset(token)
            if trace.sampled:
                self._end(ctx, trace, told(failure, trace.secrets))

    def _end(self, ctx: FrontContext, trace: Trace, failure: Failure | None) -> None:
        found = request_attributes(ctx.method, target_of(ctx.params), ctx.protocol_version)
        found["jsonrpc.request.id"] = str(ctx.request_id)[:MAX_TEXT]
        found["mcp_operator.route"] = self._path
        session = ctx.session._connection.session_id  # noqa: SLF001 - the stable object behind the per-request session
        scope = ctx.request.scope if ctx.request is not None else None
        address = scope.get("client") if scope is not None else None
        found |= peers.client(address[0] if address else None, session, http=scope is not None)
        # What is not there may be called anything: names of spans are few.
        unknown = failure is not None and failure.code == INVALID_PARAMS and not trace.legs
        trace.end(ctx.method if unknown else span_name(ctx.method, found), found, failure)


def _begun(ctx: FrontContext, tracer: Tracer) -> Trace:
    """The trace that the fast lane has begun, or a new one."""
    scope = ctx.request.scope if ctx.request is not None else {}
    found = scope.pop(TRACE, None)
    if isinstance(found, Trace):
        return found
    return tracer.begin(of_lines(scope.get("headers", ())), of_meta((ctx.params or {}).get("_meta")))


async def _passed_on(ctx: FrontContext, call_next: CallNext) -> HandlerResult:
    """Nothing is traced here: the headers of the client's trace go on as they came, and what is in `_meta` does anyway."""
    kept = passed_on(ctx.request.scope) if ctx.request is not None else ()
    if not kept:
        return await call_next(ctx)
    token = passing.set(kept)
    try:
        return await call_next(ctx)
    finally:
        passing.reset(token)
