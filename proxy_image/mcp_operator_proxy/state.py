"""All that requests are answered from at one moment, and the view that one route has of it."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mcp_operator_proxy.arrivals import arrived, may_show
from mcp_operator_proxy.auth import Authenticator, Principal
from mcp_operator_proxy.backends.ask import wire_error
from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.catalogue import Catalogue, JsonObject
from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.backends.resolved import ResolvedServer
from mcp_operator_proxy.cache import ResultCache
from mcp_operator_proxy.config import ProxyConfig, exposed_name
from mcp_operator_proxy.eras.freshness import STALE, Freshness, aged, least
from mcp_operator_proxy.policy import ALLOW_ALL, Policy
from mcp_operator_proxy.services.users.identity import user_of
from mcp_operator_proxy.services.users.personal import SIGN_IN, UNKNOWN
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
    personal: Mapping[str, ResolvedServer] = field(default_factory=dict, repr=False)
    """Servers of which each user has an instance of its own; they are not among `backends`."""
    personal_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    """Their ids, by the paths of the routes that have some."""

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

    def table(self, principal: Principal | None = None) -> RouteTable:
        state = self.proxy.state
        if state is None:
            return RouteTable(name="", path=self.path)
        if self.path in state.personal_on and (user := user_of(principal, state.config.users)) is not None:
            found = self.proxy.services.users.tables.table(self.path, user)
        else:
            found = state.table.get(self.path)
        return found or RouteTable(name="", path=self.path)

    async def listed(self, principal: Principal | None) -> RouteTable:
        state = self.proxy.state
        if state is not None and self.path in state.personal_on:
            user = user_of(principal, state.config.users)
            await self.proxy.services.users.tables.table_for(self.path, user, principal)
        return self.table(principal)

    def backend(self, server: str, principal: Principal | None = None) -> Backend | None:
        state = self.proxy.state
        if state is None:
            return None
        if server in state.personal:
            return self.proxy.services.users.instances.held(server, user_of(principal, state.config.users))
        return state.backends.get(server)

    async def reach(self, server: str, principal: Principal | None) -> Backend | None:
        state = self.proxy.state
        if state is None or server not in state.personal:
            return self.backend(server)
        user = user_of(principal, state.config.users)
        return await self.proxy.services.users.instances.reach(server, user, principal)

    def catalogues(self, principal: Principal | None) -> list[Catalogue]:
        state = self.proxy.state
        if state is None:
            return []
        found = []
        for server in self.table(principal).servers:
            backend = self.backend(server, principal)
            if backend is not None and (server not in state.personal or backend.status.ever_ready):
                found.append(backend.catalogue)
            elif server in state.personal:
                found.append(UNKNOWN)
        return found

    async def arrived(self, name: str, principal: Principal | None = None) -> bool:
        state = self.proxy.state
        if state is not None and self.path in state.personal_on:
            await self._of_user(state, name, principal)
            if name in (table := self.table(principal)).tools or name in table.prompts:
                return True
        return await arrived(self.proxy, self.path, name)

    def signs_in(self, name: str) -> str | None:
        state = self.proxy.state
        if state is None or self.path not in state.personal_on:
            return None
        route = next(route for route in state.config.routes if route.path == self.path)
        for entry in route.servers:
            naming = entry.naming or route.naming
            shown = exposed_name(naming, prefix=entry.prefix, server=entry.server, tool=SIGN_IN)
            if shown == name and entry.server in state.personal:
                return entry.server
        return None

    async def _of_user(self, state: State, name: str, principal: Principal | None) -> None:
        """List the user's instances that may have a tool or prompt of that name. Raises what `reach` does."""
        route = next(route for route in state.config.routes if route.path == self.path)
        named = [server for server in may_show(route, name) if server in state.personal]
        user = user_of(principal, state.config.users)
        if user is None and state.policy is not ALLOW_ALL:
            return  # nobody learns what there is
        for server in named:
            try:
                backend = await self.proxy.services.users.instances.reach(server, user, principal)
                if not backend.status.ever_ready:
                    await backend.looked_for()
            except BackendError as error:
                raise wire_error(server, error) from error
        if not named and user is not None:
            await self.listed(principal)

    def refusal(self, principal: Principal | None, kind: Kind, name: str, entry: Entry) -> str | None:
        state = self.proxy.state
        return state.policy.refusal(principal, self.path, kind, name, entry) if state else None

    async def visible(self, principal: Principal | None, table: RouteTable) -> RouteTable:
        while (state := self.proxy.state) is not None:
            shown = await state.policy.shown(principal, table)
            if (now := self.proxy.state) is None or now.policy == state.policy:  # else a swap brought others meanwhile
                return shown
        return table

    def task_refusal(self, principal: Principal | None, task: Sealed) -> str | None:
        """Of the tool that began a task."""
        state = self.proxy.state
        if state is None or state.policy is ALLOW_ALL:
            return None
        name, entry = self.table(principal).tool_of(task.server, task.tool)
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
