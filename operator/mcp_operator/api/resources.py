"""Whole objects: metadata, spec and status of the three kinds, and how a body becomes one."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from mcp_operator.api.common import NAME_RULES, ApiModel
from mcp_operator.api.meta import API_VERSION, Kind
from mcp_operator.api.meta import PROXY as PROXY_KIND
from mcp_operator.api.meta import ROUTE as ROUTE_KIND
from mcp_operator.api.meta import SERVER as SERVER_KIND
from mcp_operator.api.proxy import ProxySpec, ProxyStatus
from mcp_operator.api.route import RouteSpec, RouteStatus
from mcp_operator.api.server import ServerSpec, ServerStatus


class ObjectMeta(BaseModel):
    """The part of meta/v1 ObjectMeta that the operator reads; whatever else stands there is left alone."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class _Resource(ApiModel):
    api_version: Literal["mcp-operator.dev/v1alpha1"] = "mcp-operator.dev/v1alpha1"
    metadata: ObjectMeta

    @property
    def id(self) -> str:
        """`namespace/name`"""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def age_key(self) -> tuple[str, str, str]:
        """Sorts older resources first, then by namespace and name: who wins a conflict."""
        created = self.metadata.creation_timestamp
        return (created.isoformat() if created else "", self.metadata.namespace, self.metadata.name)


class _NamedResource(_Resource):
    """A resource whose name is the stem of its children's."""

    invariants = NAME_RULES


class McpServer(_NamedResource):
    """One MCP server: remote, or hosted in a pod of the cluster."""

    kind: Literal["McpServer"] = "McpServer"
    spec: ServerSpec
    status: ServerStatus = ServerStatus()


class McpProxy(_NamedResource):
    """One proxy: an MCP endpoint that serves the tools of many servers."""

    kind: Literal["McpProxy"] = "McpProxy"
    spec: ProxySpec = ProxySpec()
    status: ProxyStatus = ProxyStatus()


class McpRoute(_Resource):
    """Puts servers on a path of a proxy, with prefixes, filters and overrides."""

    kind: Literal["McpRoute"] = "McpRoute"
    spec: RouteSpec
    status: RouteStatus = RouteStatus()

    @property
    def claim_key(self) -> tuple[int, tuple[str, str, str]]:
        """Sorts by the right of way in a conflict: the higher priority first, then the older."""
        return (-self.spec.priority, self.age_key)


Resource = McpServer | McpProxy | McpRoute
MODELS: Mapping[str, tuple[Kind, type[McpServer] | type[McpProxy] | type[McpRoute]]] = {
    SERVER_KIND.kind: (SERVER_KIND, McpServer),
    PROXY_KIND.kind: (PROXY_KIND, McpProxy),
    ROUTE_KIND.kind: (ROUTE_KIND, McpRoute),
}


_UNREAD_METADATA: Final = frozenset(
    {"deletionGracePeriodSeconds", "finalizers", "generateName", "managedFields", "ownerReferences", "selfLink"}
)


FieldPath = tuple[int | str, ...]


class InvalidResource(ValueError):
    """A body that is no valid resource. The text names every wrong field and holds none of the values.

    `fields` are the paths of those fields in the body, for who can tell where in a file they stand.
    """

    def __init__(self, message: str, fields: Sequence[FieldPath] = ()) -> None:
        super().__init__(message)
        self.fields = tuple(fields)


def parse(body: Mapping[str, Any], *, strict: bool = False) -> Resource:
    """Read one custom resource. `strict` refuses unknown fields, as `kubectl apply` does.

    A status that does not parse counts as empty: the operator is about to write a new one.

    Raises InvalidResource.
    """
    kind = body.get("kind")
    if kind not in MODELS or body.get("apiVersion") != API_VERSION:
        raise InvalidResource(f"{body.get('apiVersion')} {kind} is no resource of {API_VERSION}")
    model = MODELS[cast("str", kind)][1]
    body = {**body, "metadata": _read_metadata(body.get("metadata"))}
    try:
        return model.model_validate(body, extra="forbid" if strict else "ignore")
    except ValidationError as error:
        if all(item["loc"][:1] == ("status",) for item in _items(error)):
            return model.model_validate({**body, "status": {}}, extra="forbid" if strict else "ignore")
        raise InvalidResource(describe(error), [item["loc"] for item in _items(error)]) from None


def parse_again(known: Resource, body: Mapping[str, Any]) -> Resource:
    """Read a later version of a resource: its spec is only read if it is another one. As `parse` otherwise.

    Source: Kubernetes API conventions, `metadata.generation`: it changes with every change of the spec.
    """
    metadata = body.get("metadata") or {}
    same = (known.metadata.uid, known.metadata.generation) == (metadata.get("uid"), metadata.get("generation"))
    if not same or not known.metadata.generation or body.get("apiVersion") != known.api_version:
        return parse(body)
    try:
        read = {
            "metadata": ObjectMeta.model_validate(_read_metadata(metadata)),
            "status": type(known.status).model_validate(body.get("status") or {}, extra="ignore"),
        }
    except ValidationError:
        return parse(body)
    return known.model_copy(update=read)


def _read_metadata(metadata: object) -> object:
    """Metadata without what ObjectMeta has no field for, so that only fields that no API server knows are unknown."""
    if not isinstance(metadata, Mapping):
        return metadata
    return {key: value for key, value in metadata.items() if key not in _UNREAD_METADATA and value is not None}


def describe(error: ValidationError) -> str:
    """`spec.remote.url: …; spec.path: …`: where and what, without the values, which may be credentials."""
    lines = []
    for item in _items(error):
        where = ".".join(str(part) for part in item["loc"])
        what = item["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {what}" if where else what)
    return "; ".join(lines)


def _items(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_input=False, include_url=False, include_context=False)
