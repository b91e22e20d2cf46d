"""The immutable route table: from a `ProxyConfig` and the backends' catalogues to what each route shows. Pure.

Tools and prompts are named by the route's template; resource URIs get the prefix as their first path segment
(`scheme://prefix/rest`, as FastMCP's mounts do), which can be taken away again. With an empty prefix all stays as it is.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from mcp.shared.uri_template import InvalidUriTemplate, UriTemplate

from mcp_operator_proxy.backends.catalogue import Catalogue, JsonObject
from mcp_operator_proxy.backends.settings import UNKNOWN, settings_for
from mcp_operator_proxy.config import (
    NameBudget,
    Override,
    ProxyConfig,
    Route,
    RouteServer,
    Server,
    ToolFilter,
    exposed_name,
)
from mcp_operator_proxy.eras.uris import Expose, rewrite_tool
from mcp_operator_proxy.findtools import DEFINITIONS
from mcp_operator_proxy.pinning.judge import Approval
from mcp_operator_proxy.report import Conflict, LongName, RouteReport

Kind: TypeAlias = Literal["tool", "prompt", "resource", "resource_template"]
_WEB: Final = ("http://", "https://")
_URI: Final = re.compile(r"^([^:/?#]+://)(.*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a route shows: `definition` as clients see it, and its `name` (or URI) at its `server`."""

    server: str
    name: str
    definition: JsonObject
    timeout: float = 30.0
    """Seconds that a call may take."""
    idempotent: bool = False
    """A call may be repeated when its connection broke."""
    cache_seconds: float | None = None
    """Equal calls of one caller are answered from memory for this long; None: never."""


NamedKind: TypeAlias = Literal["tool", "prompt"]


@dataclass(frozen=True, slots=True)
class Part:
    """What one server puts on a route: kind, exposed name or URI, and entry of each thing, in the server's order.

    `too_long` are the names over the budget: kind, the whole name, and what is shown instead (None: nothing is).
    """

    entries: tuple[tuple[Kind, str, Entry], ...] = ()
    too_long: tuple[tuple[NamedKind, str, str | None], ...] = ()
    quarantined: tuple[tuple[str, Entry], ...] = ()
    """Exposed names of tools whose definitions are not approved."""


@dataclass(frozen=True, slots=True)
class RouteTable:
    """What one route shows, keyed by exposed name or URI, in a fixed order: servers as configured, then the server's own."""

    name: str
    path: str
    tools: Mapping[str, Entry] = field(default_factory=dict)
    quarantined: Mapping[str, Entry] = field(default_factory=dict)
    """Tools that are neither shown nor called, as their definitions are not approved; their names are taken all the same."""
    prompts: Mapping[str, Entry] = field(default_factory=dict)
    resources: Mapping[str, Entry] = field(default_factory=dict)
    resource_templates: Mapping[str, Entry] = field(default_factory=dict)
    prefixes: Mapping[str, str] = field(default_factory=dict)
    """Prefix to server id, for URIs. The servers without a prefix are in `unprefixed`."""
    unprefixed: tuple[str, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    long_names: tuple[LongName, ...] = ()
    page_size: int | None = None
    """Entries on one page of a list; None: all."""
    find_tools: bool = False
    """Its list of tools has `find_tool` and `call_tool` alone; `tools` are found and called by them, or called by their names."""

    @property
    def listed_tools(self) -> Mapping[str, Entry]:
        """What `tools/list` shows."""
        return _FINDING if self.find_tools else self.tools

    def schema_of(self, tool: str) -> Mapping[str, Any] | None:
        """The input schema of an exposed tool, or None where there is no such tool."""
        entry = self.listed_tools.get(tool) or self.tools.get(tool)
        return None if entry is None else entry.definition.get("inputSchema")

    def resource(self, uri: str) -> tuple[str, str] | None:
        """Server and its own URI for an exposed `uri`, listed or not; None where no server can have it."""
        if (entry := self.resources.get(uri)) is not None:
            return entry.server, entry.name
        if (split := split_uri(uri)) is not None and (server := self.prefixes.get(split[0])) is not None:
            return server, split[1]
        for entry in self.resource_templates.values():
            if entry.server in self.unprefixed and _template_matches(entry.name, uri):
                return entry.server, uri
        return (self.unprefixed[0], uri) if len(self.unprefixed) == 1 else None

    def resource_entry(self, uri: str) -> Entry | None:
        """The same as an entry; one that is not listed has no definition but its URI."""
        found = self.resource(uri)
        if found is None:
            return None
        return self.resources.get(uri) or Entry(found[0], found[1], {"uri": uri}, idempotent=True)

    def tool_of(self, server: str, own: str) -> tuple[str, Entry]:
        """The server's tool `own` as the route shows it: its name there. One that is not there has no definition."""
        for name, entry in self.tools.items():
            if entry.name == own and entry.server == server:
                return name, entry
        return own, Entry(server, own, {})

    @property
    def servers(self) -> tuple[str, ...]:
        """Ids of all servers of the route."""
        return *self.prefixes.values(), *self.unprefixed

    def prefix_of(self, server: str) -> str:
        return next((prefix for prefix, owner in self.prefixes.items() if owner == server), "")

    def exposer(self, server: str) -> Expose | None:
        """From the server's own URIs to exposed ones, for `eras.uris`; None where they stay as they are.

        What it makes, `resource` takes back. Where that cannot be, the URI stays: another server's resource has the exposed
        URI, it has no `://`, or it is a web link that the server does not offer as a resource.
        """
        prefix = self.prefix_of(server)
        if not prefix:
            return None

        def expose(uri: str) -> str:
            exposed = join_uri(prefix, uri)
            if self.resource(exposed) != (server, uri):
                return uri
            return uri if uri.lower().startswith(_WEB) and not self.offers(server, uri) else exposed

        return expose

    def offers(self, server: str, uri: str) -> bool:
        """Whether the server lists its own `uri`, or a template of it matches."""
        listed = self.resources.get(join_uri(self.prefix_of(server), uri))
        if listed is not None and (listed.server, listed.name) == (server, uri):
            return True
        templates = self.resource_templates.values()
        return any(entry.server == server and _template_matches(entry.name, uri) for entry in templates)

    def report(self) -> RouteReport:
        return RouteReport(
            name=self.name,
            path=self.path,
            tools=tuple(sorted(self.tools)),
            prompts=tuple(sorted(self.prompts)),
            resources=len(self.resources),
            resource_templates=len(self.resource_templates),
        )


@dataclass(frozen=True, slots=True)
class Changes:
    """Which lists of a route differ between two tables; and, for one client, the resources that changed."""

    tools: bool = False
    prompts: bool = False
    resources: bool = False
    updated: frozenset[str] = frozenset()
    """URIs of resources with a new content."""

    def __bool__(self) -> bool:
        return self.tools or self.prompts or self.resources or bool(self.updated)

    def __or__(self, other: "Changes") -> "Changes":
        return Changes(
            self.tools or other.tools,
            self.prompts or other.prompts,
            self.resources or other.resources,
            self.updated | other.updated,
        )


def changes(old: RouteTable, new: RouteTable) -> Changes:
    """Compare what clients see; that a name moved to an equal definition of another server is no change to them."""
    return Changes(
        tools=_shown(old.listed_tools) != _shown(new.listed_tools),
        prompts=_shown(old.prompts) != _shown(new.prompts),
        resources=_shown(old.resources) != _shown(new.resources)
        or _shown(old.resource_templates) != _shown(new.resource_templates),
    )


def _shown(entries: Mapping[str, Entry]) -> list[JsonObject]:
    return [entry.definition for entry in entries.values()]


_FINDING: Final = MappingProxyType({name: Entry("", name, definition) for name, definition in DEFINITIONS.items()})
"""No server's."""


def build_table(config: ProxyConfig, catalogues: Mapping[str, Catalogue]) -> Mapping[str, RouteTable]:
    """All routes by path. A server without a catalogue yet shows nothing."""
    servers = {server.id: server for server in config.servers}
    return MappingProxyType({route.path: build_route(route, catalogues, servers) for route in config.routes})


def build_route(
    route: Route, catalogues: Mapping[str, Catalogue], servers: Mapping[str, Server] = MappingProxyType({})
) -> RouteTable:
    """One route. Of two servers that claim one name the earlier has it, and the later one's is a `Conflict`.

    `servers` are the config's by id; they say how calls are treated.
    """
    empty = Catalogue()
    return join_parts(
        route,
        [build_part(route, e, servers.get(e.server), catalogues.get(e.server, empty)) for e in route.servers],
    )


def build_part(route: Route, entry: RouteServer, server: Server | None, catalogue: Catalogue) -> Part:
    """What the server of `entry` puts on `route`, of which nothing counts but its template and its budget of names."""
    timeout = server.call_timeout_seconds if server else UNKNOWN.timeout
    names = _Names(entry, entry.naming or route.naming, route.name_budget)
    withheld = _Names(entry, entry.naming or route.naming, route.name_budget)
    approval = Approval(None if catalogue.placeholder else server)
    made: list[tuple[Kind, str, Entry]] = []
    quarantined: list[tuple[str, Entry]] = []
    for tool in _kept(catalogue.tools, entry.tools):
        own = str(tool["name"])
        override = next((o for o in entry.tools.overrides if o.name == own), None)
        shown_name = (override.rename if override else None) or own
        if not approval.covers(tool):
            if (name := withheld.shown("tool", shown_name)) is not None:
                quarantined.append((name, Entry(entry.server, own, {"name": name})))
        elif (name := names.shown("tool", shown_name)) is not None:
            made.append(("tool", name, _tool(name, entry, tool, override, server)))
    for prompt in catalogue.prompts:
        own = str(prompt["name"])
        if (name := names.shown("prompt", own)) is not None:
            made.append(("prompt", name, Entry(entry.server, own, {**prompt, "name": name}, timeout, idempotent=True)))
    for resource in catalogue.resources:
        own = str(resource["uri"])
        uri = join_uri(entry.prefix, own)
        made.append(("resource", uri, Entry(entry.server, own, {**resource, "uri": uri}, timeout, idempotent=True)))
    for template in catalogue.resource_templates:
        own = str(template["uriTemplate"])
        uri = join_uri(entry.prefix, own)
        shown = Entry(entry.server, own, {**template, "uriTemplate": uri}, timeout, idempotent=True)
        made.append(("resource_template", uri, shown))
    return Part(tuple(made), tuple(names.too_long), tuple(quarantined))


class _Names:
    """Names a server's tools and prompts, and notes those that are over the budget."""

    def __init__(self, entry: RouteServer, template: str, budget: NameBudget | None) -> None:
        self._entry = entry
        self._template = template
        self._budget = budget
        self.too_long: list[tuple[NamedKind, str, str | None]] = []

    def shown(self, kind: NamedKind, own: str) -> str | None:
        """What clients see of the server's name `own`; None where it is refused."""
        name = exposed_name(self._template, prefix=self._entry.prefix, server=self._entry.server, tool=own)
        if self._budget is None or len(name) <= self._budget.max_length:
            return name
        fitting = self._budget.fit(name)
        self.too_long.append((kind, name, fitting))
        return fitting


def join_parts(route: Route, parts: Sequence[Part]) -> RouteTable:
    """The table of a route from what each of its servers puts on it, in the order of the servers.

    The name of a quarantined tool stays its server's: else another server's tool would be called in its stead.
    """
    quarantined: dict[str, Entry] = {}
    of: dict[Kind, dict[str, Entry]] = {"tool": {}, "prompt": {}, "resource": {}, "resource_template": {}}
    conflicts: list[Conflict] = []
    own = _FINDING if route.find_tools else {}
    for part in parts:
        for kind, name, entry in part.entries:
            taken = own.get(name) or quarantined.get(name) if kind == "tool" else None
            winner = taken or of[kind].setdefault(name, entry)
            if winner is not entry:
                conflicts.append(
                    Conflict(route=route.name, kind=kind, name=name, winner=winner.server, loser=entry.server)
                )
        for name, entry in part.quarantined:
            if name not in of["tool"]:
                quarantined.setdefault(name, entry)
    return RouteTable(
        name=route.name,
        path=route.path,
        tools=MappingProxyType(of["tool"]),
        quarantined=MappingProxyType(quarantined),
        prompts=MappingProxyType(of["prompt"]),
        resources=MappingProxyType(of["resource"]),
        resource_templates=MappingProxyType(of["resource_template"]),
        prefixes=MappingProxyType({s.prefix: s.server for s in route.servers if s.prefix}),
        unprefixed=tuple(s.server for s in route.servers if not s.prefix),
        conflicts=tuple(conflicts),
        long_names=tuple(_long_names(route, parts)),
        page_size=route.page_size,
        find_tools=route.find_tools,
    )


def _long_names(route: Route, parts: Sequence[Part]) -> Iterator[LongName]:
    for entry, part in zip(route.servers, parts, strict=True):
        for kind, name, shown in part.too_long:
            yield LongName(route=route.name, kind=kind, name=name, server=entry.server, shown=shown)


def _kept(tools: Iterable[JsonObject], keep: ToolFilter) -> Iterable[JsonObject]:
    def matches(name: str, patterns: tuple[str, ...]) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    return (t for t in tools if matches(str(t["name"]), keep.include) and not matches(str(t["name"]), keep.exclude))


def _tool(name: str, entry: RouteServer, tool: JsonObject, override: Override | None, server: Server | None) -> Entry:
    own = str(tool["name"])
    definition = {**tool, "name": name}
    if override is not None and override.description is not None:
        definition["description"] = override.description
    definition = rewrite_tool(definition, lambda uri: join_uri(entry.prefix, uri) if uri.startswith("ui://") else uri)
    settings = settings_for(server, own, tool.get("annotations"))
    return Entry(entry.server, own, definition, settings.timeout, settings.idempotent, settings.cache_seconds)


def join_uri(prefix: str, uri: str) -> str:
    """`scheme://rest` as `scheme://prefix/rest`; what has no `://` cannot carry a prefix and stays."""
    if not prefix or (match := _URI.match(uri)) is None:
        return uri
    return f"{match[1]}{prefix}/{match[2]}"


def split_uri(uri: str) -> tuple[str, str] | None:
    """Prefix and original URI of what `join_uri` made, or None where there can be no prefix."""
    if (match := _URI.match(uri)) is None or "/" not in match[2]:
        return None
    prefix, _, rest = match[2].partition("/")
    return prefix, f"{match[1]}{rest}"


@lru_cache(maxsize=4096)
def _matcher(template: str) -> Callable[[str], Any] | None:
    try:
        return UriTemplate.parse(template).match
    except InvalidUriTemplate:
        return None


def _template_matches(template: str, uri: str) -> bool:
    match = _matcher(template)
    return match is not None and match(uri) is not None
