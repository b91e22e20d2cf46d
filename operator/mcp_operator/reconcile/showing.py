"""What one proxy shows to clients, and by which names: where a tool of a server can be called."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mcp_operator.probe.replica import ReplicaState
from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.config import ProxyConfig, Route, RouteServer
from mcp_operator_proxy.table import build_route


@dataclass(frozen=True, slots=True)
class Shown:
    """Where a proxy shows a tool to clients, and by which name."""

    path: str
    name: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What can be called through one proxy: nothing where `shown` is None, and where `waiting` perhaps soon."""

    shown: Shown | None = None
    waiting: bool = False


class Showing:
    """What one proxy shows to clients: its configuration, and what its replicas say. What is asked once is remembered."""

    def __init__(self, config: ProxyConfig, states: Mapping[str, ReplicaState]) -> None:
        self._config = config
        self._states = states
        self._plans: dict[tuple[str, str], Plan] = {}

    def plan(self, server: str, tool: str) -> Plan:
        """The first path of the proxy that shows the server's `tool`, once clients may find it there.

        That is when some replica lists it, or when all have settled and so will not: then the call fails, as theirs would.
        Until then a swap is under way, and whoever called would only learn that.
        """
        asked = (server, tool)
        if asked not in self._plans:
            self._plans[asked] = self._plan(server, tool)
        return self._plans[asked]

    def _plan(self, server: str, tool: str) -> Plan:
        places = (
            (route, name) for route, entry in self._entries.get(server, ()) for name in _names(route, entry, tool)
        )
        found = next(((route, name) for route, name in places if (route.name, name, server) not in self._hidden), None)
        if found is None:
            return Plan()
        shown = Shown(found[0].path, found[1])
        if (shown.path, shown.name) in self._listed or (self._states and not self._under_way):
            return Plan(shown)
        return Plan(waiting=True)

    @cached_property
    def _entries(self) -> Mapping[str, Sequence[tuple[Route, RouteServer]]]:
        found: defaultdict[str, list[tuple[Route, RouteServer]]] = defaultdict(list)
        for route in self._config.routes:
            for entry in route.servers:
                found[entry.server].append((route, entry))
        return found

    @cached_property
    def _listed(self) -> frozenset[tuple[str, str]]:
        """Path and name of every tool that some replica lists."""
        routes = (route for state in self._states.values() for route in state.routes)
        return frozenset((route.path, name) for route in routes for name in route.tools)

    @cached_property
    def _hidden(self) -> frozenset[tuple[str, str, str]]:
        """Route, name and server where another server has the tool's name."""
        conflicts = (conflict for state in self._states.values() for conflict in state.conflicts)
        return frozenset((found.route, found.name, found.loser) for found in conflicts if found.kind == "tool")

    @cached_property
    def _under_way(self) -> bool:
        return any(_is_under_way(state) for state in self._states.values())


def _names(route: Route, entry: RouteServer, tool: str) -> Iterable[str]:
    """The name by which clients of `route` see the tool of this server, if they do: the proxy's own function tells it."""
    alone = route.model_copy(update={"servers": (entry,)})
    catalogue = Catalogue(tools=({"name": tool, "inputSchema": {"type": "object"}},))
    return build_route(alone, {entry.server: catalogue}).tools


def _is_under_way(state: ReplicaState) -> bool:
    if state.state in {"unknown", "pending"}:
        return True
    return state.state == "running" and not state.steady
