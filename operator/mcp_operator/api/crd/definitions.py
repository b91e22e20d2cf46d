"""One CustomResourceDefinition (apiextensions.k8s.io/v1) per kind."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from mcp_operator.api import meta
from mcp_operator.api.crd.schema import KEY_ORDER, Schema, structural
from mcp_operator.api.resources import MODELS

_API_VERSION_TEXT: Final = (
    "Version of the schema of this representation of an object; see the API conventions of Kubernetes on types (kinds)."
)
_KIND_TEXT: Final = "Kind of the REST resource that this object represents; see the API conventions of Kubernetes."

PENDING: Final = {
    "type": "Ready",
    "status": "Unknown",
    "reason": "Pending",
    "message": "Waiting for the operator",
    "lastTransitionTime": "1970-01-01T00:00:00Z",
}
"""The condition of a resource that no operator has seen yet: kstatus takes one without conditions for finished.

The Gateway API sets the same default, with the same time.
"""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; `wide` ones show with `-o wide`."""

    name: str
    path: str
    type: Literal["string", "integer", "date"] = "string"
    wide: bool = False


def _condition(kind: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


def _ready(field: str) -> str:
    return _condition("Ready", field)


_READY: Final = Column("Ready", _ready("status"))
_LAST: Final = (
    Column("Age", ".metadata.creationTimestamp", "date"),
    Column("Reason", _ready("reason"), wide=True),
    Column("Message", _ready("message"), wide=True),
)
COLUMNS: Final[dict[str, tuple[Column, ...]]] = {
    meta.SERVER.kind: (
        _READY,
        Column("Kind", ".status.hosting"),
        Column("Tools", ".status.tools.count", "integer"),
        Column("Latency", ".status.probe.latency"),
        *_LAST,
        Column("Canary", _condition("CanaryPassing", "status"), wide=True),
        Column("Restarts", ".status.restarts", "integer", wide=True),
        Column("Digest", ".status.tools.digest", wide=True),
        Column("Names", ".status.tools.names", wide=True),
    ),
    meta.PROXY.kind: (
        _READY,
        Column("Servers", ".status.serverCount", "integer"),
        Column("Tools", ".status.toolCount", "integer"),
        Column("Revision", ".status.revision"),
        Column("Replicas", ".status.replicaSummary"),
        Column("URL", ".status.url"),
        *_LAST,
    ),
    meta.ROUTE.kind: (
        _READY,
        Column("Proxy", ".status.proxies"),
        Column("Path", ".status.path"),
        Column("Servers", ".status.serverCount", "integer"),
        *_LAST,
    ),
}


def definitions() -> list[dict[str, Any]]:
    """The CustomResourceDefinitions of all kinds."""
    return [definition(kind) for kind in meta.KINDS]


def definition(kind: meta.Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.crd_name, "labels": {meta.LABEL_NAME: "mcp-operator"}},
        "spec": {
            "group": meta.GROUP,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short_name],
                "categories": [meta.CATEGORY],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": meta.VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": [_column(column) for column in COLUMNS[kind.kind]],
                    "schema": {"openAPIV3Schema": root_schema(kind)},
                    "subresources": _subresources(kind),
                }
            ],
        },
    }


def root_schema(kind: meta.Kind) -> Schema:
    """Schema of the whole object. The server keeps metadata itself, and the operator the status: that has no defaults."""
    schema = structural(MODELS[kind.kind][1], without=("apiVersion", "kind", "metadata"))
    fields = schema["properties"]
    status = without_defaults(fields["status"]) | {"default": {"conditions": [PENDING]}}
    properties = {
        "apiVersion": {"description": _API_VERSION_TEXT, "type": "string"},
        "kind": {"description": _KIND_TEXT, "type": "string"},
        "metadata": {"type": "object"},
        "spec": whole_when_empty(fields["spec"]),
        "status": status,
    }
    return schema | {"properties": properties}


def whole_when_empty(schema: Schema) -> Schema:
    """The schema with each object below it that may be empty, and has no default, owned as a whole (`atomic`).

    Server-side apply makes null of an object whose last field its manager takes away while it still says `{}`. What the
    API server defaults is mended so; any other object would be refused, "must be of type object: null".
    """
    children = {name: _whole_when_empty(child) for name, child in schema.get("properties", {}).items()}
    return schema | ({"properties": children} if children else {})


def _whole_when_empty(schema: Schema) -> Schema:
    below = whole_when_empty(schema)
    if "items" in below:
        below = below | {"items": whole_when_empty(below["items"])}
    if below.get("type") == "object" and "default" not in below and not below.get("required"):
        below = below | {"x-kubernetes-map-type": "atomic"}
    return {key: below[key] for key in KEY_ORDER if key in below}


def without_defaults(schema: Schema) -> Schema:
    """The schema with no default at any depth."""
    return {
        key: {name: without_defaults(child) for name, child in value.items()}
        if key == "properties"
        else without_defaults(value)
        if key in {"items", "additionalProperties"}
        else value
        for key, value in schema.items()
        if key != "default"
    }


def _column(column: Column) -> dict[str, Any]:
    body = {"name": column.name, "type": column.type, "jsonPath": column.path}
    return body | ({"priority": 1} if column.wide else {})


def _subresources(kind: meta.Kind) -> dict[str, Any]:
    if kind is not meta.PROXY:
        return {"status": {}}
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    return {"status": {}, "scale": scale}
