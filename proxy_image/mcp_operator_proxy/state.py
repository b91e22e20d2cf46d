"""All that requests are answered from at one moment, and the view that one route has of it."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mcp_operator_proxy.arrivals import arrived
from mcp_operator_proxy.auth import Authenticator, Principal
from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.catalogue import JsonObject
from mcp_operator_proxy.cache import ResultCache
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.eras.freshness import STALE, Freshness, aged, least
from mcp_operator_proxy.policy import ALLOW_ALL, Policy
from mcp_operator_proxy.services.windows import Call, Limited
from mcp_operator_proxy.table import Entry, Kind, RouteTable
from mcp_operator_proxy.tasktokens import Sealed

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy


@dataclass(frozen=True)
class State:
    """All that a request is answered from. Replaced whole, never changed."""

    config: ProxyConfig
    table: Mapping[str, RouteTable]
    backends: Mapping[str, Backend] = field(repr=False)
    authenticator: Authenticator | None = field(default=None, repr=False)
    """None: everybody may call."""
    policy: Policy = ALLOW_ALL

    def freshness(self, path: str, method: str) -> Freshness:
        """How long a client may use a list of a route, and whether it may share it."""
        table = self.table.get(path)
        if table is None:
            return STALE
        found = least(_parts(self, table, method, time.monotonic()))
        everybody = self.authenticator is None and self.policy is ALLOW_ALL
        return found if everybody else replace(found, public=False)


@dataclass(frozen=True)
class RouteView:
    """The view that one endpoint has of the state."""

    proxy: "Proxy"
    path: str

    def table(self) -> RouteTable:
        state = self.proxy.state
        found = state.table.get(self.path) if state else None
        return found or RouteTable(name="", path=self.path)

    def backend(self, server: str) -> Backend | None:
        state = self.proxy.state
        return state.backends.get(server) if state else None

    async def arrived(self, name: str) -> bool:
        return await arrived(self.proxy, self.path, name)

    def refusal(self, principal: Principal | None, kind: Kind, name: str, entry: Entry) -> str | None:
        state = self.proxy.state
        return state.policy.refusal(principal, self.path, kind, name, entry) if state else None

    def visible(self, principal: Principal | None, table: RouteTable) -> RouteTable:
        state = self.proxy.state
        return state.policy.visible(principal, table) if state else table

    def task_refusal(self, principal: Principal | None, task: Sealed) -> str | None:
        """Of the tool that began a task."""
        state = self.proxy.state
        if state is None or state.policy is ALLOW_ALL:
            return None
        name, entry = self.table().tool_of(task.server, task.tool)
        return state.policy.refusal(principal, self.path, "tool", name, entry)

    async def find(self, principal: Principal | None, query: str, limit: int | None) -> list[JsonObject]:
        registry = self.proxy.services.registry
        hits = await registry.search(query, limit, principal=principal, path=self.path)
        return [hit.tool.entry.definition for hit in hits]

    async def limited(self, principal: Principal | None, entry: Entry) -> Limited | None:
        limits = self.proxy.services.limits
        if limits.unlimited:
            return None
        return await limits.check(Call(principal, entry.name, entry.server, self.path))

    def cache(self) -> ResultCache:
        return self.proxy.cache

    def freshness(self, method: str) -> Freshness:
        return self.proxy.freshness(self.path, method)


def _parts(state: State, table: RouteTable, method: str, now: float) -> Iterator[Freshness]:
    """What the servers of a route have left of what they said of one of their lists."""
    for server in (*table.prefixes.values(), *table.unprefixed):
        backend = state.backends.get(server)
        if backend is None or backend.listed_at is None:
            yield STALE
        elif (said := backend.catalogue.freshness.get(method)) is not None:
            yield aged(said, now - backend.listed_at)
