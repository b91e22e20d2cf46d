"""What routes show to users who have instances of their own: the shared servers' part, and what their own instances list."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.services.users.instances import Instances
from mcp_operator_proxy.services.users.personal import EMPTY
from mcp_operator_proxy.table import RouteTable, changes

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy

MOST: Final = 10_000
"""Tables that are kept; of more users, those not asked for the longest are made anew."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A table and what it was made from. Compared by identity: both are replaced, never changed."""

    shared: RouteTable
    own: tuple[Catalogue, ...]
    table: RouteTable

    def holds(self, shared: RouteTable, own: tuple[Catalogue, ...]) -> bool:
        return self.shared is shared and len(self.own) == len(own) and all(map(_is, self.own, own))


class Tables:
    """Of one proxy. A user's table is never anybody else's: it is kept, and asked for, by the user's id."""

    def __init__(self, proxy: "Proxy", instances: Instances) -> None:
        self._proxy = proxy
        self._instances = instances
        self._made: OrderedDict[tuple[str, str], _Made] = OrderedDict()

    def table(self, path: str, user: str) -> RouteTable | None:
        """What the route at `path` shows to `user` now; None where there is no such route."""
        state = self._proxy.state
        shared = state.table.get(path) if state is not None else None
        if state is None or shared is None:
            self._made.pop((path, user), None)
            return None
        servers = state.personal_on.get(path, ())
        own = tuple(self._instances.catalogue(server, user) for server in servers)
        made = self._made.get((path, user))
        if made is None or not made.holds(shared, own):
            table = shared
            if any(catalogue is not EMPTY for catalogue in own):
                table = self._proxy.table_with(path, dict(zip(servers, own, strict=True)))
            made = self._made[path, user] = _Made(shared, own, table)
            while len(self._made) > MOST:
                self._made.popitem(last=False)
        self._made.move_to_end((path, user))
        return made.table

    async def table_for(self, path: str, user: str | None, principal: Principal | None) -> RouteTable | None:
        """The same, once the user's instances have listed what they have, or had their time for it."""
        state = self._proxy.state
        if state is None:
            return None
        servers = state.personal_on.get(path, ())
        if user is None or not servers:
            return state.table.get(path)
        await asyncio.gather(*(self._instances.look(server, user, principal) for server in servers))
        return self.table(path, user)

    def changed(self, user: str) -> None:
        """Something of the user's may be another: tell the user's clients, and nobody else's."""
        state = self._proxy.state
        for path in state.personal_on if state is not None else ():
            if (path, user) in self._made:
                self._tell(path, user)

    def swapped(self) -> None:
        """A configuration, or a shared catalogue, is another one."""
        for path, user in list(self._made):
            self._tell(path, user)

    def _tell(self, path: str, user: str) -> None:
        before = self._made[path, user].table
        now, endpoint = self.table(path, user), self._proxy.endpoints.get(path)
        if endpoint is None or now is None:
            return
        endpoint.swapped()
        if now is not before and (difference := changes(before, now)):
            self._proxy.tell_user(path, user, difference)


def _is(one: object, other: object) -> bool:
    return one is other
