"""McpRoute: which servers appear on which proxy, where, and with which tools."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from mcp_operator.api.common import ApiModel, LabelSelector, NamespaceName, ObjectName, StatusModel, rules
from mcp_operator.api.proxy import PATH_MESSAGE, McpPath, path_rule
from mcp_operator_proxy.config import DNS_LABEL, RESERVED_PATHS

ToolName = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class ParentRef(ApiModel):
    """A proxy that shall serve the route."""

    name: ObjectName
    """Name of the McpProxy, in the namespace of the route."""


class ToolOverride(ApiModel):
    """Another face for one tool."""

    name: ToolName
    """The server's own name of the tool."""
    rename: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$", min_length=1, max_length=128)] | None = None
    """Name that clients see, before the prefix is put in front."""
    description: Annotated[str, StringConstraints(max_length=8192)] | None = None
    """Description that clients see."""


class ToolRules(ApiModel):
    """Which tools are shown, by shell globs (`*`, `?`) on the server's own names, and how."""

    include: Annotated[tuple[ToolName, ...], Field(max_length=256)] = ("*",)
    """Tools to show."""
    exclude: Annotated[tuple[ToolName, ...], Field(max_length=256)] = ()
    """Tools to hide of those."""
    overrides: Annotated[
        tuple[ToolOverride, ...],
        Field(
            max_length=256, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = ()
    """Tools to rename or describe anew."""


class RouteServer(ApiModel):
    """One server by name, or several by labels."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.name) != has(self.selector)", "exactly one of name and selector must be set"),
            (
                "!has(self.selector) || !has(self.prefix) || self.prefix == ''",
                "several servers can't share a prefix: with selector, leave prefix out or empty",
            ),
        )
    )

    name: ObjectName | None = None
    """Name of the McpServer."""
    selector: LabelSelector | None = None
    """Labels of the McpServers; `{}` takes all."""
    namespace: NamespaceName | None = None
    """Namespace of the server, when it is not the route's. The other side must have consented."""
    prefix: Annotated[str, StringConstraints(pattern=rf"{DNS_LABEL}|^$", max_length=63)] | None = None
    """What stands before tool names: a DNS label, so it holds no `_`. Unset: the server's name. Empty: names stay as they are."""
    tools: ToolRules = ToolRules()
    """Which tools are shown, and how."""

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if (self.name is None) == (self.selector is None):
            raise ValueError("exactly one of name and selector must be set")
        if self.selector is not None and self.prefix:
            raise ValueError("several servers can't share a prefix: with selector, leave prefix out or empty")
        return self


class RouteSpec(ApiModel):
    """What the user declares."""

    model_config = ConfigDict(json_schema_extra=rules(path_rule("self.path")))

    parent_refs: Annotated[
        tuple[ParentRef, ...],
        Field(
            min_length=1,
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ]
    """Proxies that shall serve the route."""
    path: McpPath | None = None
    """Path of its MCP endpoint. Unset: the proxy's spec.path. Routes at one path are served together."""
    servers: Annotated[tuple[RouteServer, ...], Field(min_length=1, max_length=256)]
    """Servers that appear there. Of two that claim one name, the older resource has it."""

    @model_validator(mode="after")
    def _path_is_free(self) -> Self:
        if self.path in RESERVED_PATHS:
            raise ValueError(PATH_MESSAGE)
        return self


class RouteStatus(StatusModel):
    """What the operator found."""

    proxies: Annotated[str, StringConstraints(max_length=4096)] = ""
    """Names of the proxies that serve it."""
    path: Annotated[str, StringConstraints(max_length=256)] = ""
    """Path at which it is served."""
    server_count: Annotated[int, Field(ge=0)] = 0
    """Servers that it brings."""
