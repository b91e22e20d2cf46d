"""Route tables made again after a change: only the parts that changed, in turns, and the same object where nothing did."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.config import NameBudget, ProxyConfig, Route, RouteServer, Server
from mcp_operator_proxy.swap.pace import Pace
from mcp_operator_proxy.table import Part, RouteTable, build_part, join_parts

_EMPTY = Catalogue()


@dataclass(frozen=True, slots=True)
class _Made:
    """A part and all that it was made from."""

    naming: str
    budget: NameBudget | None
    entry: RouteServer
    server: Server | None
    catalogue: Catalogue
    part: Part

    def still_holds(self, route: Route, entry: RouteServer, server: Server | None, catalogue: Catalogue) -> bool:
        return (
            self.catalogue is catalogue
            and self.naming == route.naming
            and self.budget == route.name_budget
            and (self.entry is entry or self.entry == entry)
            and (self.server is server or self.server == server)
        )


class TableBuilder:
    """Remembers what it made last. `build` gives the table now; `prepare` before it does the long part of the work."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str], _Made] = {}
        self._routes: dict[str, tuple[Route, tuple[Part, ...], RouteTable]] = {}

    async def prepare(self, config: ProxyConfig, catalogues: Mapping[str, Catalogue]) -> None:
        """Make the parts that `build` will need, while calls go on."""
        pace = Pace()
        servers = _by_id(config)
        for route in config.routes:
            for _ in self._parts_of(route, servers, catalogues):
                await pace.turn()

    def build(self, config: ProxyConfig, catalogues: Mapping[str, Catalogue]) -> Mapping[str, RouteTable]:
        """All routes by path. A route that shows what it showed before keeps its table object."""
        servers = _by_id(config)
        tables = {route.path: self._route(route, servers, catalogues) for route in config.routes}
        self._forget(config)
        return MappingProxyType(tables)

    def _route(self, route: Route, servers: Mapping[str, Server], catalogues: Mapping[str, Catalogue]) -> RouteTable:
        parts = tuple(self._parts_of(route, servers, catalogues))
        known = self._routes.get(route.path)
        if known is not None and _same(known[1], parts) and known[0] == route:
            return known[2]
        table = join_parts(route, parts)
        self._routes[route.path] = (route, parts, table)
        return table

    def with_own(
        self, config: ProxyConfig, path: str, shared: Mapping[str, Catalogue], own: Mapping[str, Catalogue]
    ) -> RouteTable:
        """The table of a route for one user, whose instances of some servers list `own`. Nothing of it is remembered."""
        route, servers = next(route for route in config.routes if route.path == path), _by_id(config)
        parts = [
            build_part(route, entry, servers.get(entry.server), own[entry.server])
            if entry.server in own
            else self._part(route, entry, servers, shared)
            for entry in route.servers
        ]
        return join_parts(route, parts)

    def _parts_of(
        self, route: Route, servers: Mapping[str, Server], catalogues: Mapping[str, Catalogue]
    ) -> Iterator[Part]:
        for entry in route.servers:
            yield self._part(route, entry, servers, catalogues)

    def _part(
        self, route: Route, entry: RouteServer, servers: Mapping[str, Server], catalogues: Mapping[str, Catalogue]
    ) -> Part:
        key = (route.path, entry.server)
        server, catalogue = servers.get(entry.server), catalogues.get(entry.server, _EMPTY)
        made = self._parts.get(key)
        if made is None or not made.still_holds(route, entry, server, catalogue):
            part = build_part(route, entry, server, catalogue)
            made = self._parts[key] = _Made(route.naming, route.name_budget, entry, server, catalogue, part)
        return made.part

    def _forget(self, config: ProxyConfig) -> None:
        shown = {(route.path, entry.server) for route in config.routes for entry in route.servers}
        if len(shown) < len(self._parts):
            self._parts = {key: made for key, made in self._parts.items() if key in shown}
        paths = {route.path for route in config.routes}
        self._routes = {path: known for path, known in self._routes.items() if path in paths}


def _by_id(config: ProxyConfig) -> dict[str, Server]:
    return {server.id: server for server in config.servers}


def _same(one: tuple[Part, ...], other: tuple[Part, ...]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
