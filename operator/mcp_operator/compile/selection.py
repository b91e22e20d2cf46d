"""Which servers appear on a proxy, where, and under which name: routes and selectors, and who wins a conflict."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from mcp_operator.api.resources import McpProxy, McpRoute, McpServer
from mcp_operator.api.route import RouteServer, ToolRules
from mcp_operator.compile.claims import Claim, Claimant
from mcp_operator.compile.consent import NAME_LABEL, Labels, allows
from mcp_operator.compile.problems import Problem


@dataclass(frozen=True, slots=True)
class Entry:
    """One server at one path. `source` is the id of the route that brings it, or None for the proxy's own selector."""

    path: str
    server: McpServer
    prefix: str
    tools: ToolRules
    source: str | None

    @property
    def claimant(self) -> Claimant:
        return Claimant(self.server.id, self.source)


@dataclass(slots=True)
class Selection:
    """Entries in the order of their claim, and what was refused: by route id, and for the proxy itself."""

    entries: list[Entry] = field(default_factory=list)
    route_problems: dict[str, list[Problem]] = field(default_factory=dict)
    proxy_problems: list[Problem] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    by_server: dict[tuple[str, str], Entry] = field(default_factory=dict)
    by_prefix: dict[tuple[str, str], Entry] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.by_server[entry.path, entry.server.id] = entry
        if entry.prefix:
            self.by_prefix[entry.path, entry.prefix] = entry

    def refuse(self, claim: Claim, problems: list[Problem]) -> None:
        self.claims.append(claim)
        problems.append(Problem(claim.reason, claim.told_to_loser()))


class Servers:
    """Servers by namespace and name, older ones first; those that are being deleted are not among them."""

    def __init__(self, servers: Iterable[McpServer]) -> None:
        self._by_namespace: defaultdict[str, dict[str, McpServer]] = defaultdict(dict)
        alive = (server for server in servers if server.metadata.deletion_timestamp is None)
        for server in sorted(alive, key=lambda server: server.age_key):
            self._by_namespace[server.metadata.namespace][server.metadata.name] = server

    def named(self, namespace: str, name: str) -> McpServer | None:
        return self._by_namespace.get(namespace, {}).get(name)

    def of(self, namespace: str) -> Sequence[McpServer]:
        return tuple(self._by_namespace.get(namespace, {}).values())


def is_attached(route: McpRoute, proxy: McpProxy) -> bool:
    """Whether the route names the proxy, of its namespace, as a parent."""
    return (
        route.metadata.namespace == proxy.metadata.namespace
        and route.metadata.deletion_timestamp is None
        and any(ref.name == proxy.metadata.name for ref in route.spec.parent_refs)
    )


def attached_routes(proxy: McpProxy, routes: Iterable[McpRoute]) -> list[McpRoute]:
    """The proxy's routes in the order of their claims: the higher priority first, then the older."""
    return sorted((route for route in routes if is_attached(route, proxy)), key=lambda route: route.claim_key)


def namespaces_of(proxy: McpProxy, routes: Iterable[McpRoute]) -> set[str]:
    """Namespaces whose servers have a say in what the proxy serves."""
    attached = (route for route in routes if is_attached(route, proxy))
    named = {server.namespace for route in attached for server in route.spec.servers if server.namespace}
    return named | {proxy.metadata.namespace}


def select(
    proxy: McpProxy,
    routes: Iterable[McpRoute],
    servers: Iterable[McpServer],
    *,
    namespace_labels: Mapping[str, str] | None = None,
) -> Selection:
    """Resolve routes and the proxy's selector to entries.

    The route with the higher priority comes first. Among equals a server that is named comes before one that a selector
    merely matches, then the older resource wins; the proxy's own selector comes last. Refused are a second claim of one
    server at a path by name, a prefix that is taken there, and a server of another namespace that does not allow it.

    `namespace_labels`: of the proxy's namespace; None where they can't be read.
    """
    known, selection = Servers(servers), Selection()
    attached = attached_routes(proxy, routes)
    selection.route_problems = {route.id: [] for route in attached}
    for _, equals in groupby(attached, key=lambda route: route.spec.priority):
        references = [
            _Reference(proxy, route, reference, namespace_labels)
            for route in equals
            for reference in route.spec.servers
        ]
        for reference in references:
            if reference.name is not None:
                _claim_by_name(selection, reference, known)
        for reference in references:
            if reference.name is None:
                _claim_by_selector(selection, reference, known)
    if (selector := proxy.spec.servers.selector) is not None:
        for server in known.of(proxy.metadata.namespace):
            if selector.matches(server.metadata.labels):
                entry = Entry(proxy.spec.path, server, server.metadata.name, ToolRules(), None)
                _claim(selection, entry, selection.proxy_problems, by_name=False)
    return selection


class _Reference:
    """One item of a route's `servers`, at one proxy."""

    def __init__(self, proxy: McpProxy, route: McpRoute, item: RouteServer, labels: Labels) -> None:
        self._labels = labels
        self._item = item
        self.home = route.metadata.namespace
        self.namespace = item.namespace or self.home
        self.name = item.name
        self.source = route.id
        self._path = route.spec.path or proxy.spec.path

    @property
    def is_foreign(self) -> bool:
        return self.namespace != self.home

    def allowed(self, server: McpServer) -> bool:
        return not self.is_foreign or allows(server, self.home, self._labels)

    def matching(self, servers: Servers) -> Iterator[McpServer]:
        selector = self._item.selector
        if selector is not None:
            yield from (server for server in servers.of(self.namespace) if selector.matches(server.metadata.labels))

    def entry(self, server: McpServer) -> Entry:
        prefix = server.metadata.name if self._item.prefix is None else self._item.prefix
        return Entry(self._path, server, prefix, self._item.tools, self.source)

    def not_permitted(self) -> Problem:
        """The same words whether there is such a server or not: what is in another namespace is not told."""
        what = f"McpServer {self.namespace}/{self.name}" if self.name else f"no McpServer of namespace {self.namespace}"
        says = (
            f"is not found, or its spec.allowedRoutes does not allow routes of namespace {self.home}"
            if self.name
            else f"that the selector matches allows routes of namespace {self.home} (spec.allowedRoutes)"
        )
        if self._labels is None:
            says += f"; as the operator watches only some namespaces, a selector there can only ask for {NAME_LABEL}"
        return Problem("RefNotPermitted", f"{what} {says}")


def _claim_by_name(selection: Selection, reference: _Reference, servers: Servers) -> None:
    problems = selection.route_problems[reference.source]
    server = servers.named(reference.namespace, reference.name or "")
    if server is not None and reference.allowed(server):
        _claim(selection, reference.entry(server), problems, by_name=True)
    elif reference.is_foreign:
        problems.append(reference.not_permitted())
    else:
        text = f"McpServer {reference.namespace}/{reference.name} is not found; create it or mend the name"
        problems.append(Problem("ServerNotFound", text))


def _claim_by_selector(selection: Selection, reference: _Reference, servers: Servers) -> None:
    problems = selection.route_problems[reference.source]
    allowed = [server for server in reference.matching(servers) if reference.allowed(server)]
    if reference.is_foreign and not allowed:
        problems.append(reference.not_permitted())
    for server in allowed:
        _claim(selection, reference.entry(server), problems, by_name=False)


def _claim(selection: Selection, entry: Entry, problems: list[Problem], *, by_name: bool) -> None:
    if (other := selection.by_server.get((entry.path, entry.server.id))) is not None:
        if by_name:
            claim = Claim("ServerConflict", entry.path, "", other.claimant, entry.claimant)
            selection.refuse(claim, problems)
        return
    if entry.prefix and (other := selection.by_prefix.get((entry.path, entry.prefix))) is not None:
        claim = Claim("PrefixConflict", entry.path, entry.prefix, other.claimant, entry.claimant)
        selection.refuse(claim, problems)
        return
    selection.add(entry)
