"""Spans to a collector: OTLP over HTTP, in batches, from a thread of their own. A call waits for nothing of it.

Not the SDK's exporter, as connections go where the process's egress rule lets them. What OTLP says of failures holds: 429, 502,
503 and 504 are tried again, with pauses; what is refused otherwise is not.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import httpx2
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as WireResource
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.resources import Resource

from mcp_operator_proxy import __version__
from mcp_operator_proxy.backends.network import EgressDenied, guarded_client
from mcp_operator_proxy.egress import Egress
from mcp_operator_proxy.tracing.counts import Counts
from mcp_operator_proxy.tracing.settings import TracingSettings
from mcp_operator_proxy.tracing.spans import Span, Value

logger = logging.getLogger(__name__)
MAX_WAITING: Final = 8192
"""Spans that wait for the collector; those beyond are counted and not kept."""
BATCH: Final = 512
DELAY_SECONDS: Final = 1.0
"""A span waits no longer for others."""
ANSWER_SECONDS: Final = 10.0
AT_ONCE: Final = 16
"""Spans that are encoded before others have a turn: about 0.3 ms."""
BREATH_SECONDS: Final = 0.0002
PAUSES: Final = (1.0, 2.0, 4.0, 8.0)
"""Between attempts to send one batch, as long as the proxy does not end."""
MAX_PAUSE: Final = 30.0
"""Of what a collector asks for by `Retry-After`."""
SCOPE: Final = "mcp-operator-proxy"
_NAME: Final = "service.name"
_EACH: Final = "jsonrpc.request.id"
"""Another one in each span."""
_AGAIN: Final = frozenset({429, 502, 503, 504})
_FLAG_BITS: Final = 0xFF
_HAS_REMOTE: Final = trace_pb2.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_IS_REMOTE: Final = trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
_Outcome: TypeAlias = Literal["taken", "refused"] | float


@dataclass
class _Target:
    """Where a batch goes. A swap replaces it as a whole."""

    settings: TracingSettings
    resource: WireResource


class Exporter:
    """`add` spans from any thread; `close` it in the end. `aim` changes where they go, also those that wait."""

    def __init__(self, settings: TracingSettings, instance: str, egress: Egress | None, counts: Counts) -> None:
        self._instance = instance
        self._egress = egress
        self._counts = counts
        self._waiting: deque[Span] = deque()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._away = False
        self._in_hand = 0
        self.aim(settings)
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def aim(self, settings: TracingSettings) -> None:
        """Send to another place from now on."""
        self._target = _Target(settings, resource(settings.service_name, self._instance))

    def add(self, span: Span) -> None:
        """Never waits."""
        if len(self._waiting) >= MAX_WAITING or self._stop.is_set():
            self._counts.dropped += 1
            return
        self._waiting.append(span)
        if len(self._waiting) == BATCH:
            self._wake.set()

    def finish(self) -> None:
        """Send what waits, and end; nobody waits for it here."""
        self._stop.set()
        self._wake.set()

    def close(self, seconds: float) -> None:
        """As `finish`, and wait for the end."""
        self.finish()
        self._thread.join(seconds)
        if left := len(self._waiting) + self._in_hand:
            logger.error("spans were not sent to the collector of traces", extra={"spans": left})

    # The thread

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                client = guarded_client(self._egress, timeout=ANSWER_SECONDS)
                try:
                    while not self._stop.is_set():
                        self._wake.wait(DELAY_SECONDS)
                        self._wake.clear()
                        self._send_waiting(runner, client)
                    self._send_waiting(runner, client)
                finally:
                    runner.run(client.aclose())
        except Exception:
            logger.exception("traces are not exported any more")
            self._stop.set()

    def _send_waiting(self, runner: asyncio.Runner, client: httpx2.AsyncClient) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._in_hand = len(batch)
            self._send(runner, client, batch)
            self._in_hand = 0

    def _send(self, runner: asyncio.Runner, client: httpx2.AsyncClient, batch: Sequence[Span]) -> None:
        """Send a batch; it is tried again while the collector is away."""
        for pause in (*PAUSES, None):
            target = self._target
            outcome = runner.run(self._post(client, target.settings, encoded(batch, target.resource), len(batch)))
            if outcome == "taken":
                return
            if outcome == "refused" or pause is None or self._stop.is_set():
                break
            self._stop.wait(max(pause, min(float(outcome), MAX_PAUSE)))
        self._counts.failed += len(batch)

    async def _post(self, client: httpx2.AsyncClient, to: TracingSettings, body: bytes, spans: int) -> _Outcome:
        """What became of one attempt; seconds to wait at least, where another may do better."""
        headers = {**to.headers, "content-type": "application/x-protobuf"}
        try:
            response = await client.post(to.url, content=body, headers=headers)
        except (httpx2.HTTPError, EgressDenied, OSError) as error:  # a TimeoutError is an OSError
            self._unreached(str(error) if isinstance(error, EgressDenied) else type(error).__name__)
            return 0.0
        if 200 <= response.status_code < 300:
            self._taken(response.content, spans)
            return "taken"
        self._unreached(f"HTTP {response.status_code}")
        if response.status_code not in _AGAIN:
            return "refused"
        asked = response.headers.get("retry-after", "")
        return float(asked) if asked.isascii() and asked.isdecimal() else 0.0

    def _unreached(self, error: str) -> None:
        """Told once, until it has worked again."""
        if not self._away:
            self._away = True
            logger.warning("the collector of traces does not take spans", extra={"error": error})

    def _taken(self, answer: bytes, spans: int) -> None:
        try:
            partial = ExportTraceServiceResponse.FromString(answer).partial_success
            rejected = min(spans, max(0, partial.rejected_spans))
        except DecodeError:  # it may answer with nothing, or with words
            rejected = 0
        self._counts.rejected += rejected
        self._counts.exported += spans - rejected
        if self._away:
            self._away = False
            logger.info("the collector of traces takes spans again")


def resource(service_name: str | None, instance: str) -> WireResource:
    """What all spans say of this process: with `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`, as the SDK reads them."""
    found = dict(Resource.create({"service.version": __version__, "service.instance.id": instance}).attributes)
    if service_name is not None or str(found.get(_NAME, "")).startswith("unknown_service"):
        found[_NAME] = service_name or SCOPE
    return WireResource(attributes=[_pair(key, str(value)) for key, value in found.items()])


def encoded(batch: Sequence[Span], about: WireResource) -> bytes:
    """The body of one OTLP request. The thread that answers calls is let in between: this one would hold it up for milliseconds."""
    whole = ExportTraceServiceRequest()
    of_process = whole.resource_spans.add()
    of_process.resource.CopyFrom(about)
    of_scope = of_process.scope_spans.add()
    of_scope.scope.CopyFrom(InstrumentationScope(name=SCOPE, version=__version__))
    for number, span in enumerate(batch, 1):
        _write(span, of_scope.spans.add())
        if number % AT_ONCE == 0:
            time.sleep(BREATH_SECONDS)
    return bytes(whole.SerializeToString())


def _write(span: Span, made: trace_pb2.Span) -> None:
    context, failure = span.context, span.failure
    own = tuple(item for item in span.attributes.items() if item[0] != _EACH)
    made.CopyFrom(_alike(span.name, span.kind, own))
    made.trace_id = _trace_id(context.trace_id)
    made.span_id = _span_id(context.span_id)
    if span.parent is not None:
        made.parent_span_id = _span_id(span.parent)
    if context.state is not None:
        made.trace_state = context.state
    made.flags |= context.flags & _FLAG_BITS
    made.start_time_unix_nano = span.start
    made.end_time_unix_nano = max(span.start, span.end)
    if (number := span.attributes.get(_EACH)) is not None:
        made.attributes.append(_pair(_EACH, number))
    if failure is not None:
        made.attributes.append(_pair("error.type", failure.kind))
        if failure.code is not None:
            made.attributes.append(_pair("rpc.response.status_code", str(failure.code)))
        made.status.CopyFrom(
            trace_pb2.Status(code=trace_pb2.Status.StatusCode.STATUS_CODE_ERROR, message=failure.message)
        )
    if span.link is not None:
        link = span.link
        made.links.append(
            trace_pb2.Span.Link(
                trace_id=_trace_id(link.trace_id),
                span_id=_span_id(link.span_id),
                trace_state=link.state or "",
                flags=link.flags | _HAS_REMOTE | _IS_REMOTE,
            )
        )


@lru_cache(maxsize=1024)
def _alike(name: str, kind: int, attributes: tuple[tuple[str, Value], ...]) -> trace_pb2.Span:
    """What spans of calls of one thing by one client have in common: building it takes longer than copying it."""
    remote = _IS_REMOTE if kind == trace_pb2.Span.SPAN_KIND_SERVER else 0
    pairs = [_pair(key, value) for key, value in attributes]
    return trace_pb2.Span(name=name, kind=kind, flags=_HAS_REMOTE | remote, attributes=pairs)  # type: ignore[arg-type]


def _pair(key: str, value: Value) -> KeyValue:
    wire = AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)
    return KeyValue(key=key, value=wire)


def _trace_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def _span_id(number: int) -> bytes:
    return number.to_bytes(8, "big")
