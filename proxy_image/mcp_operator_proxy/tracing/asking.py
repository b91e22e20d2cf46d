"""The span of one request that a session sends to a server, and how what became of it is named."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS
from opentelemetry import context as ambient
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context
from pydantic import ValidationError

from mcp_operator_proxy.backends.classify import BackendError, redact
from mcp_operator_proxy.backends.http import Attempt
from mcp_operator_proxy.tracing.context import Context
from mcp_operator_proxy.tracing.spans import (
    CANCELLED,
    MAX_TEXT,
    TOOL_ERROR,
    Attributes,
    Failure,
    current,
    error_of,
    headers,
    passing,
    request_attributes,
    span_name,
    target_of,
)

Json: TypeAlias = Mapping[str, Any]


class Asked:
    """A request to a server, while it is on its way. `result` is for its end."""

    def __init__(self) -> None:
        self.result: Json | None = None


@contextlib.contextmanager
def asking(  # noqa: PLR0917
    method: str,
    params: Json,
    attempt: Attempt,
    version: Callable[[], str],
    peer: Callable[[], Attributes],
    secrets: Callable[[], Iterable[str]],
) -> Iterator[Asked]:
    """Around one request to a server: a span of its own, whose context `attempt` and the SDK send with it.

    The SDK writes what is ambient into `_meta`. `version`, `peer` and `secrets` are asked in the end, where it is recorded.
    """
    asked, trace = Asked(), current.get()
    if trace is None:
        attempt.headers = passing.get()
        yield asked
        return
    leg = trace.branch()
    context = trace.context if leg is None else leg.context
    attempt.headers, attempt.leg = headers(context), leg
    token, failure = ambient.attach(set_span_in_context(NonRecordingSpan(_as_ambient(context)))), None
    try:
        yield asked
        failure = TOOL_ERROR if method == "tools/call" and says_failed(asked.result) else None
    except BaseException as error:
        failure = failure_of(error)
        raise
    finally:
        ambient.detach(token)
        if leg is not None:
            found = request_attributes(method, target_of(params), version())
            if leg.request_id is not None:
                found["jsonrpc.request.id"] = leg.request_id
            found |= peer()
            if failure is not None and failure.message:
                trace.secrets = secrets()
            leg.end(span_name(method, found), found, told(failure, trace.secrets))


def failure_of(error: BaseException) -> Failure:
    """`error.type` is the code of a JSON-RPC error, or the class of what happened instead of an answer."""
    match error:
        case MCPError():
            return error_of(error.error.code, error.error.message)
        case BackendError():
            return Failure(error.report.error_class, error.report.message[:MAX_TEXT])
        case ValidationError():
            return error_of(INVALID_PARAMS, "Invalid request parameters")
        case asyncio.CancelledError():
            return CANCELLED
        case _:
            return Failure(type(error).__name__, "", INTERNAL_ERROR)


def told(failure: Failure | None, secrets: Iterable[str]) -> Failure | None:
    """As a span may say it: the words are often a server's, and those may repeat what it was shown."""
    if failure is None or not failure.message:
        return failure
    return failure._replace(message=redact(failure.message, secrets, MAX_TEXT))


def says_failed(result: Any) -> bool:
    """Whether a tool says of itself that it failed."""
    return isinstance(result, Mapping) and result.get("isError") is True


def _as_ambient(context: Context) -> SpanContext:
    state = TraceState.from_header([context.state]) if context.state is not None else None
    return SpanContext(
        context.trace_id, context.span_id, is_remote=False, trace_flags=TraceFlags(context.flags), trace_state=state
    )
