"""Who looks, and what he may see."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends

from mcp_operator_proxy.config import Inspector, Server
from mcp_operator_proxy.inspector.service import UNKNOWN
from mcp_operator_proxy.policy import is_open
from mcp_operator_proxy.services.rest import problems
from mcp_operator_proxy.services.rest.asking import Asking
from mcp_operator_proxy.services.rest.problems import ProblemError
from mcp_operator_proxy.table import RouteTable


class Looking(Asking):
    """One request to `/ui/api`."""

    @property
    def settings(self) -> Inspector:
        found = self.state.config.inspector
        if found is None:  # it has just been switched off
            raise ProblemError(problems.NOT_FOUND, "there is nothing at this path")
        return found

    @property
    def is_operator(self) -> bool:
        """Sees all. Where nobody authenticates everybody does."""
        if not self.authenticated:
            return True
        return self.principal is not None and self.principal.key in self.settings.operators

    @property
    def caller_key(self) -> str | None:
        """By which his own exchanges and sessions are told from those of others; None of nobody."""
        return self.principal.key if self.principal is not None else None

    @property
    def unknown(self) -> bool:
        """He has shown nothing, and the proxy wants to know who calls."""
        return bool(self.request.scope.get(UNKNOWN))

    def server_of(self, server_id: str) -> Server | None:
        return next((server for server in self.state.config.servers if server.id == server_id), None)

    async def tables(self, path: str | None = None) -> Mapping[str, RouteTable]:
        """What the routes show to the caller, by path; of one, or of all. Decided in turns with other work."""
        state, found = self.state, {}
        user = self.own_user
        for route in state.table:
            if path is None or route == path:
                if user is not None and route in state.personal_on:
                    await self.proxy.services.users.tables.table_for(route, user, self.principal)
                found[route] = await state.policy.shown(self.principal, self.proxy.table(route, self.principal))
        return found

    async def servers(self) -> Mapping[str, Server]:
        """Those that the caller may see, in the order of the configuration: that have something which some route shows to him."""
        known = {server.id: server for server in self.state.config.servers}
        if self.is_operator:
            return known
        if is_open(self.state.policy, self.principal):
            seen = {entry.server for route in self.state.config.routes for entry in route.servers}
        else:
            kinds = ("tools", "prompts", "resources", "resource_templates")
            tables = (await self.tables()).values()
            seen = {entry.server for table in tables for kind in kinds for entry in getattr(table, kind).values()}
        return {key: server for key, server in known.items() if key in seen}

    async def seen_server(self, server_id: str) -> Server:
        """Raises ProblemError; one that he may not see is told as if there were none."""
        found = (await self.servers()).get(server_id)
        if found is None:
            raise ProblemError(problems.UNKNOWN_SERVER, "there is no server of this name")
        return found

    async def tools(self) -> frozenset[tuple[str, str]]:
        """Server and own name of each tool that some route shows to the caller."""
        tables = (await self.tables()).values()
        return frozenset((entry.server, entry.name) for table in tables for entry in table.tools.values())

    def route_path(self, named: str) -> str:
        """Of a route, by its path or name. Raises ProblemError."""
        for route in self.state.config.routes:
            if named in (route.path, route.name):
                return route.path
        raise ProblemError(problems.INVALID_REQUEST, "there is no route of this path")


Look = Annotated[Looking, Depends(Looking)]
