"""Where a proxy sends its traces."""

from typing import Annotated

from pydantic import Field, StringConstraints

from mcp_operator.api.common import ApiModel, keyed_by, unique
from mcp_operator.api.constraints import matching
from mcp_operator.api.scalars import Url
from mcp_operator.api.server import DISTINCT_HEADERS, Header


class Tracing(ApiModel):
    """OpenTelemetry traces of what clients ask the proxy and of what it asks servers, as OTLP over HTTP."""

    endpoint: Url
    """Base URL of the collector, such as `http://otel-collector.observability.svc:4318`: traces go to /v1/traces beneath it."""
    sampling_ratio: Annotated[
        str,
        StringConstraints(max_length=16),
        matching(r"^(0(\.[0-9]+)?|1(\.0+)?)$", 'must be a number from "0" to "1", such as "0.1"'),
    ] = "1"
    """Part of the traces that is recorded, of those whose client has not decided: a client's decision is heeded."""
    headers: Annotated[
        tuple[Header, ...],
        Field(max_length=16, json_schema_extra=keyed_by("name")),
        unique("name"),
        DISTINCT_HEADERS,
    ] = ()
    """Headers that are sent with every request to the collector."""
    service_name: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """`service.name` of the spans; unset: the name of this McpProxy."""
