"""Resources as the API server holds them, and as models."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from mcp_operator.api.resources import McpProxy, McpRoute, McpServer, parse
from mcp_operator.compile.lookup import DataId, DataObject
from mcp_operator.compile.references import decoded

Body = dict[str, Any]
R = TypeVar("R", McpServer, McpProxy, McpRoute)
NAMESPACE = "team-a"
BIRTH = datetime(2026, 1, 1, tzinfo=UTC)


def stored(body: Body, *, age: int = 0, generation: int = 1, **metadata: Any) -> Body:
    """A manifest with what the API server adds. `age`: seconds by which it is older than `BIRTH`."""
    name, kind = body["metadata"]["name"], body["kind"]
    given = {
        "namespace": NAMESPACE,
        "uid": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{kind}/{name}")),
        "generation": generation,
        "resourceVersion": "1",
        "creationTimestamp": (BIRTH - timedelta(seconds=age)).isoformat().replace("+00:00", "Z"),
    }
    return {**body, "metadata": {**given, **body["metadata"], **metadata}}


def server(body: Body, **metadata: Any) -> McpServer:
    return _as(McpServer, stored(body, **metadata))


def proxy(body: Body, **metadata: Any) -> McpProxy:
    return _as(McpProxy, stored(body, **metadata))


def route(body: Body, **metadata: Any) -> McpRoute:
    return _as(McpRoute, stored(body, **metadata))


def _as(kind: type[R], body: Body) -> R:
    model = parse(body, strict=True)
    assert isinstance(model, kind)
    return model


def secret(name: str, version: str = "7", **data: str) -> tuple[DataId, DataObject]:
    """An entry of `DataObjects`."""
    return ("Secret", NAMESPACE, name), DataObject(version, {key: value.encode() for key, value in data.items()})


def objects_of(bodies: Iterable[Mapping[str, Any]]) -> dict[DataId, DataObject]:
    """The Secrets and ConfigMaps among `bodies`."""
    return {
        (body["kind"], body["metadata"].get("namespace", NAMESPACE), body["metadata"]["name"]): DataObject(
            body["metadata"].get("resourceVersion", "7"), decoded(body["kind"], body)
        )
        for body in bodies
        if body["kind"] in {"Secret", "ConfigMap"}
    }
