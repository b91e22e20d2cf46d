"""A collector of traces on loopback: it takes OTLP over HTTP and keeps what it was sent.

collector = Collector()
async with ServedApp(collector.app, path="") as served: …
collector.spans           # those that have come
"""

from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

SERVER = Span.SPAN_KIND_SERVER
CLIENT = Span.SPAN_KIND_CLIENT


@dataclass(frozen=True)
class Seen:
    """One span."""

    name: str
    kind: int
    trace: str
    id: str
    parent: str
    state: str
    attributes: dict[str, Any]
    error: bool
    message: str
    links: list[tuple[str, str]]
    seconds: float
    about: dict[str, Any]
    """Attributes of its resource."""

    @property
    def is_server(self) -> bool:
        return self.kind == SERVER


@dataclass
class Collector:
    """It answers as `answers` says, and takes all after that."""

    answers: list[Response] = field(default_factory=list)
    spans: list[Seen] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    asked: int = 0

    def app(self) -> ASGIApp:
        async def take(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            body = await request.body()
            self.asked += 1
            answer = self.answers.pop(0) if self.answers else None
            if answer is None:
                self._keep(request, body)
                taken = ExportTraceServiceResponse().SerializeToString()
                answer = Response(taken, media_type="application/x-protobuf")
            await answer(scope, receive, send)

        return take

    def _keep(self, request: Request, body: bytes) -> None:
        assert request.headers["content-type"] == "application/x-protobuf"
        self.headers.append(dict(request.headers))
        self.paths.append(request.url.path)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = _plain(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += [_seen(span, about) for span in scope.spans]

    def of(self, trace: str) -> list[Seen]:
        """The spans of one trace: servers before clients, then by their beginning."""
        return sorted((span for span in self.spans if span.trace == trace), key=lambda span: not span.is_server)


def _seen(span: Span, about: dict[str, Any]) -> Seen:
    return Seen(
        name=span.name,
        kind=span.kind,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        state=span.trace_state,
        attributes=_plain(span.attributes),
        error=span.status.code == Status.STATUS_CODE_ERROR,
        message=span.status.message,
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        about=about,
    )


def _plain(pairs: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    pair: KeyValue
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        assert kind in ("string_value", "int_value"), pair
        assert pair.key not in found, pair
        found[pair.key] = getattr(pair.value, kind)
    return found
