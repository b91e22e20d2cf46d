"""Which servers appear on a proxy, where, and under which name: routes and selectors, and who wins a conflict."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mcp_operator.api.resources import McpProxy, McpRoute, McpServer
from mcp_operator.api.route import RouteServer, ToolRules
from mcp_operator.compile.problems import Problem


@dataclass(frozen=True, slots=True)
class Entry:
    """One server at one path. `source` is the id of the route that brings it, or None for the proxy's own selector."""

    path: str
    server: McpServer
    prefix: str
    tools: ToolRules
    source: str | None


@dataclass(slots=True)
class Selection:
    """Entries in the order of their claim, and what was refused: by route id, and for the proxy itself."""

    entries: list[Entry] = field(default_factory=list)
    route_problems: dict[str, list[Problem]] = field(default_factory=dict)
    proxy_problems: list[Problem] = field(default_factory=list)
    by_server: dict[tuple[str, str], Entry] = field(default_factory=dict)
    by_prefix: dict[tuple[str, str], Entry] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.by_server[entry.path, entry.server.id] = entry
        if entry.prefix:
            self.by_prefix[entry.path, entry.prefix] = entry


def attached_routes(proxy: McpProxy, routes: Iterable[McpRoute]) -> list[McpRoute]:
    """Routes of the proxy's namespace that name it as a parent, older ones first."""
    mine = (
        route
        for route in routes
        if route.metadata.namespace == proxy.metadata.namespace
        and route.metadata.deletion_timestamp is None
        and any(ref.name == proxy.metadata.name for ref in route.spec.parent_refs)
    )
    return sorted(mine, key=lambda route: route.age_key)


def select(proxy: McpProxy, routes: Iterable[McpRoute], servers: Iterable[McpServer]) -> Selection:
    """Resolve routes and the proxy's selector to entries.

    A server named by a route comes before one that a selector merely matches; among equals the older resource wins.
    Refused are a second claim of one server at a path by name, and a prefix that is taken there.
    """
    namespace = proxy.metadata.namespace
    mine = sorted(
        (s for s in servers if s.metadata.namespace == namespace and s.metadata.deletion_timestamp is None),
        key=lambda server: server.age_key,
    )
    by_name = {server.metadata.name: server for server in mine}
    selection = Selection()
    attached = attached_routes(proxy, routes)
    for route in attached:
        selection.route_problems[route.id] = []
        for reference in route.spec.servers:
            if reference.name is not None:
                _claim_by_name(selection, proxy, route, reference, by_name.get(reference.name))
    for route in attached:
        for reference in route.spec.servers:
            if reference.selector is not None:
                _claim_by_selector(selection, proxy, route, reference, mine)
    if proxy.spec.servers.selector is not None:
        for server in mine:
            if proxy.spec.servers.selector.matches(server.metadata.labels):
                entry = Entry(proxy.spec.path, server, server.metadata.name, ToolRules(), None)
                _claim(selection, entry, selection.proxy_problems, by_name=False)
    return selection


def _claim_by_name(
    selection: Selection, proxy: McpProxy, route: McpRoute, reference: RouteServer, server: McpServer | None
) -> None:
    problems = selection.route_problems[route.id]
    if _is_foreign(route, reference, problems):
        return
    if server is None:
        problems.append(
            Problem(
                "ServerNotFound",
                f"McpServer {route.metadata.namespace}/{reference.name} is not found; create it or mend the name",
            )
        )
        return
    _claim(selection, _entry(proxy, route, reference, server), problems, by_name=True)


def _claim_by_selector(
    selection: Selection, proxy: McpProxy, route: McpRoute, reference: RouteServer, servers: Sequence[McpServer]
) -> None:
    problems = selection.route_problems[route.id]
    if _is_foreign(route, reference, problems):
        return
    assert reference.selector is not None
    for server in servers:
        if reference.selector.matches(server.metadata.labels):
            _claim(selection, _entry(proxy, route, reference, server), problems, by_name=False)


def _is_foreign(route: McpRoute, reference: RouteServer, problems: list[Problem]) -> bool:
    if reference.namespace is None or reference.namespace == route.metadata.namespace:
        return False
    problems.append(
        Problem(
            "RefNotPermitted",
            f"namespace {reference.namespace} has not consented to serve its McpServers through routes of {route.metadata.namespace}",
        )
    )
    return True


def _entry(proxy: McpProxy, route: McpRoute, reference: RouteServer, server: McpServer) -> Entry:
    prefix = server.metadata.name if reference.prefix is None else reference.prefix
    return Entry(route.spec.path or proxy.spec.path, server, prefix, reference.tools, route.id)


def _claim(selection: Selection, entry: Entry, problems: list[Problem], *, by_name: bool) -> None:
    if (other := selection.by_server.get((entry.path, entry.server.id))) is not None:
        if by_name:
            where = f"is already served at {entry.path} by {_owner(other)}"
            problems.append(Problem("ServerConflict", f"McpServer {entry.server.id} {where}; remove one of the two"))
        return
    if entry.prefix and (other := selection.by_prefix.get((entry.path, entry.prefix))) is not None:
        where = f"is taken at {entry.path} by McpServer {other.server.id} ({_owner(other)})"
        what = f"prefix {entry.prefix!r} of McpServer {entry.server.id}"
        problems.append(Problem("PrefixConflict", f"{what} {where}; give one of them another prefix"))
        return
    selection.add(entry)


def _owner(entry: Entry) -> str:
    return f"McpRoute {entry.source}" if entry.source else "the proxy's own selector"
