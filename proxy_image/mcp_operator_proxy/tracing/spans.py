"""Spans of one request: what is known of them while it goes on, and what becomes of them in the end.

Names and attributes: OpenTelemetry's semantic conventions for MCP (semantic-conventions-genai, docs/gen-ai/mcp.md). A call
that is not sampled makes none; its context goes on all the same.
"""

import random
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from mcp_operator_proxy.tracing.context import SAMPLED, Context, written

SERVER: Final = 2
CLIENT: Final = 3
"""Kinds of spans, as `opentelemetry.proto.trace.v1` numbers them."""
TRACE: Final = "mcp_operator_proxy.trace"
"""Key in an ASGI scope: the trace that the fast lane began for this request."""
MAX_TEXT: Final = 256
"""Characters of what a client or a server has written."""
MAX_URI: Final = 1024
_MOST: Final = 1 << 64
Value: TypeAlias = str | int
Attributes: TypeAlias = dict[str, Value]


class Failure(NamedTuple):
    """How a request failed. `kind` is `error.type`; `code` is that of a JSON-RPC error."""

    kind: str
    message: str = ""
    code: int | None = None


TOOL_ERROR: Final = Failure("tool_error")
CANCELLED: Final = Failure("cancelled")


class Span(NamedTuple):
    """One that has ended. Times are nanoseconds since the epoch."""

    name: str
    kind: int
    context: Context
    parent: int | None
    start: int
    end: int
    attributes: Attributes
    failure: Failure | None
    link: Context | None = None


class Tracer:
    """Begins traces. `ratio` of those that no client has decided about are sampled; `add` takes their spans."""

    def __init__(self, ratio: float, add: Callable[[Span], None]) -> None:
        self.add = add
        self._bound = round(ratio * _MOST)
        self._random = random.Random()  # noqa: S311 - ids need no secrecy

    def begin(self, header: Context | None, meta: Context | None) -> "Trace":
        """For a request with these contexts. That in `_meta` is the parent before that of the transport, which is linked then."""
        parent = meta or header
        if parent is None:
            trace_id = self._random.getrandbits(128) or 1
            sampled = trace_id & (_MOST - 1) < self._bound  # as the SDK's TraceIdRatioBased
            return Trace(self, Context(trace_id, self.new_id(), SAMPLED if sampled else 0), None)
        if not parent.sampled:
            return Trace(self, parent, parent)
        link = header if meta is not None and header is not None and header[:2] != meta[:2] else None
        return Trace(self, parent._replace(span_id=self.new_id()), parent, link)

    def new_id(self) -> int:
        return self._random.getrandbits(64) or 1


class Trace:
    """A request that came in. One that is not sampled has the context that goes on, and no spans."""

    __slots__ = (
        "_link",
        "_parent",
        "_tracer",
        "attributes",
        "context",
        "failure",
        "leg",
        "legs",
        "of_backend",
        "sampled",
        "secrets",
        "start",
    )

    def __init__(self, tracer: Tracer, context: Context, parent: Context | None, link: Context | None = None) -> None:
        self._tracer = tracer
        self.context = context
        self._parent = parent
        self._link = link
        self.sampled = context.sampled
        self.start = time.time_ns() if self.sampled else 0
        self.attributes: Attributes = {}
        """Beside those that `end` is given."""
        self.failure: Failure | None = None
        """How it failed, where that is known before its end."""
        self.of_backend: Failure | None = None
        """What was wrong with the server, where that is not the error that the client gets."""
        self.leg: Leg | None = None
        """The request to a server that is on its way in the fast lane."""
        self.legs = 0
        """Requests to servers."""
        self.secrets: Iterable[str] = ()
        """What the server that refused it was shown, and may repeat in its words."""

    def branch(self) -> "Leg | None":
        """A request to a server begins; None where nothing is recorded: `context` goes on."""
        if not self.sampled:
            return None
        self.legs += 1
        return Leg(self, self.context._replace(span_id=self._tracer.new_id()))

    def end(self, name: str, attributes: Attributes, failure: Failure | None) -> None:
        if self.sampled:
            parent = None if self._parent is None else self._parent.span_id
            every = {**attributes, **self.attributes}
            span = Span(name, SERVER, self.context, parent, self.start, time.time_ns(), every, failure, self._link)
            self._tracer.add(span)

    def ended(self, leg: "Leg", name: str, attributes: Attributes, failure: Failure | None, at: int) -> None:
        self._tracer.add(Span(name, CLIENT, leg.context, self.context.span_id, leg.start, at, attributes, failure))


class Leg:
    """A request on its way to a server."""

    __slots__ = ("_trace", "context", "request_id", "start")

    def __init__(self, trace: Trace, context: Context) -> None:
        self._trace = trace
        self.context = context
        self.start = time.time_ns()
        self.request_id: str | None = None
        """Its JSON-RPC id there."""

    def end(self, name: str, attributes: Attributes, failure: Failure | None, at: int | None = None) -> None:
        """`at`: when it did, where that was before this moment."""
        self._trace.ended(self, name, attributes, failure, time.time_ns() if at is None else at)


current: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""The request that is being answered, on the full path and over REST."""
passing: ContextVar[tuple[tuple[str, str], ...]] = ContextVar("trace_headers", default=())
"""Header lines of a context that is sent on as it came: nothing is traced here."""


def header_lines(context: Context) -> bytes:
    """For a request to a server, each with its line end."""
    lines = b"traceparent: %b\r\n" % written(*context[:3]).encode()
    return lines if context.state is None else lines + b"tracestate: %b\r\n" % context.state.encode()


def headers(context: Context) -> tuple[tuple[str, str], ...]:
    lines = (("traceparent", written(*context[:3])),)
    return lines if context.state is None else (*lines, ("tracestate", context.state))


def meta_members(context: Context) -> bytes:
    """For the `_meta` of a request to a server, as JSON."""
    members = b'"traceparent":"%b"' % written(*context[:3]).encode()
    return members if context.state is None else members + b',"tracestate":' + msgspec.json.encode(context.state)


def request_attributes(method: str, target: str, version: str | None) -> Attributes:
    """What the spans of both legs have alike. `target` is the name of a tool or prompt, or a URI."""
    found: Attributes = {"mcp.method.name": method}
    if version:
        found["mcp.protocol.version"] = version
    if not target:
        return found
    if method == "tools/call":
        found["gen_ai.operation.name"] = "execute_tool"
        found["gen_ai.tool.name"] = target[:MAX_TEXT]
    elif method == "prompts/get":
        found["gen_ai.prompt.name"] = target[:MAX_TEXT]
    elif method.startswith("resources/"):
        found["mcp.resource.uri"] = target[:MAX_URI]
    return found


def span_name(method: str, attributes: Mapping[str, Value]) -> str:
    """`{mcp.method.name} {target}`; URIs are too many for a name."""
    target = attributes.get("gen_ai.tool.name") or attributes.get("gen_ai.prompt.name")
    return f"{method} {target}" if target else method


def error_of(code: int, message: str) -> Failure:
    """Of a JSON-RPC error. What may be a server's words is still to be searched for secrets and cut: `asking.told`."""
    return Failure(str(code), message, code)


def target_of(params: Mapping[str, Any] | None) -> str:
    """What a request names: a tool, a prompt, a URI."""
    named = (params or {}).get("name", (params or {}).get("uri"))
    return named if isinstance(named, str) else ""
