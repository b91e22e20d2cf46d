"""McpRoute: which servers appear on which proxy, where, and with which tools."""

from typing import Annotated

from pydantic import Field, StringConstraints

from mcp_operator.api.common import ApiModel, Condition, LabelSelector, StatusModel, keyed_by, unique
from mcp_operator.api.constraints import Rule, is_distinct, matching, one_of_fields
from mcp_operator.api.proxy import McpPath
from mcp_operator.api.scalars import Count, NamespaceName, Priority, ResourceName

PREFIX = r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$"
PREFIX_MESSAGE = (
    "must be a DNS label (lower-case letters, digits and '-', at most 63) or empty: it holds no '_',"
    " so that the first '_' of a name ends it"
)

ToolName = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class ParentRef(ApiModel):
    """A proxy that shall serve the route."""

    name: ResourceName
    """Name of the McpProxy, in the namespace of the route."""


class ToolOverride(ApiModel):
    """Another face for one tool."""

    invariants = (
        Rule(
            "has(self.rename) || has(self.description)",
            "needs rename or description: otherwise it changes nothing",
            lambda self: self.rename is not None or self.description is not None,
        ),
    )

    name: ToolName
    """The server's own name of the tool."""
    rename: (
        Annotated[
            str,
            StringConstraints(max_length=128),
            matching(r"^[A-Za-z0-9_.-]+$", "must be a tool name: letters, digits, '_', '-' and '.'"),
        ]
        | None
    ) = None
    """Name that clients see, before the prefix is put in front."""
    description: Annotated[str, StringConstraints(max_length=8192)] | None = None
    """Description that clients see."""


class ToolRules(ApiModel):
    """Which tools are shown, by shell globs (`*`, `?`) on the server's own names, and how."""

    include: Annotated[tuple[ToolName, ...], Field(min_length=1, max_length=256)] = ("*",)
    """Tools to show; unset: all."""
    exclude: Annotated[tuple[ToolName, ...], Field(max_length=256)] = ()
    """Tools to hide of those."""
    overrides: Annotated[
        tuple[ToolOverride, ...],
        Field(max_length=128, json_schema_extra=keyed_by("name")),
        unique("name"),
    ] = ()
    """Tools to rename or describe anew."""


class RouteServer(ApiModel):
    """One server by name, or several by labels."""

    invariants = (
        Rule(
            one_of_fields("name", "selector"),
            "exactly one of name and selector must be set",
            lambda self: (self.name is None) != (self.selector is None),
        ),
        Rule(
            "!has(self.selector) || !has(self.prefix) || self.prefix == ''",
            "several servers can't share a prefix: with selector, leave prefix out or empty",
            lambda self: self.selector is None or not self.prefix,
        ),
    )

    name: ResourceName | None = None
    """Name of the McpServer."""
    selector: LabelSelector | None = None
    """Labels of the McpServers; `{}` takes all."""
    namespace: NamespaceName | None = None
    """Namespace of the server or servers, when it is not the route's. Their spec.allowedRoutes must allow the route's."""
    prefix: Annotated[str, StringConstraints(max_length=128), matching(PREFIX, PREFIX_MESSAGE)] | None = None
    """What stands before tool names: a DNS label, so it holds no `_`. Unset: the server's name. Empty: names stay as they are."""
    tools: ToolRules = ToolRules()
    """Which tools are shown, and how."""


class RouteSpec(ApiModel):
    """What the user declares."""

    parent_refs: Annotated[
        tuple[ParentRef, ...], Field(min_length=1, max_length=16, json_schema_extra=keyed_by("name")), unique("name")
    ]
    """Proxies that shall serve the route."""
    priority: Priority = 0
    """Of two routes that claim one server, prefix or name at a path, the one with the higher priority has it; of equal ones
    the older."""
    path: McpPath | None = None
    """Path of its MCP endpoint. Unset: the proxy's spec.path. Routes at one path are served together."""
    servers: Annotated[
        tuple[RouteServer, ...],
        Field(min_length=1, max_length=256),
        Rule(
            "self.all(a, !has(a.name) || self.exists_one(b, has(b.name) && a.name == b.name"
            " && (has(a.__namespace__) ? has(b.__namespace__) && a.__namespace__ == b.__namespace__ : !has(b.__namespace__))))",
            "a server must not stand there twice",
            lambda servers: is_distinct((s.namespace, s.name) for s in servers if s.name is not None),
        ),
        Rule(
            "self.all(a, !has(a.name) || (has(a.prefix) && a.prefix == '') || self.exists_one(b, has(b.name) &&"
            " (has(a.prefix) ? a.prefix : a.name) == (has(b.prefix) ? b.prefix : b.name)))",
            "two servers must not have one prefix (the name, where none is given)",
            lambda servers: is_distinct(
                s.name if s.prefix is None else s.prefix for s in servers if s.name is not None and s.prefix != ""
            ),
        ),
    ]
    """Servers that appear there. Those that are named come before those that a selector takes."""
    find_tools: bool = False
    """Show, at this path, the two tools find_tool and call_tool instead of the servers' own, which they find and call."""


class ParentStatus(ApiModel):
    """How one proxy took the route."""

    name: ResourceName
    """Name of the McpProxy."""
    path: Annotated[str, StringConstraints(max_length=256)] = ""
    """Path at which it serves the route."""
    server_count: Count = 0
    """Servers of the route that it serves."""
    conditions: Annotated[
        tuple[Condition, ...], Field(max_length=16, json_schema_extra=keyed_by("type")), unique("type")
    ] = ()
    """What is true of the route at this proxy: Accepted, ResolvedRefs, Programmed and, while True, Conflicted."""


class RouteStatus(StatusModel):
    """What the operator found."""

    proxies: Annotated[str, StringConstraints(max_length=4096)] = ""
    """Names of the proxies that serve it."""
    path: Annotated[str, StringConstraints(max_length=256)] = ""
    """Path at which it is served."""
    server_count: Count = 0
    """Servers that it brings."""
    parents: Annotated[
        tuple[ParentStatus, ...], Field(max_length=16, json_schema_extra=keyed_by("name")), unique("name")
    ] = ()
    """How each of the proxies took it."""
