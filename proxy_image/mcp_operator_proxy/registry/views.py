"""What one caller sees of the tools: of each route what its user's table shows and the policy lets it call."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.policy import is_open
from mcp_operator_proxy.registry.listing import Listing, listing
from mcp_operator_proxy.services.users.identity import user_of
from mcp_operator_proxy.table import RouteTable

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy
    from mcp_operator_proxy.state import State

MOST_CALLERS: Final = 256
"""Whose listings are kept."""
NOTHING: Final = Listing()
_Tables = tuple[tuple[str, RouteTable], ...]


class Views:
    """Of one proxy. `user` is whom an application acts for; unset, it is the caller itself."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self._whole: tuple[State | None, Listing] = (None, NOTHING)
        self._callers: OrderedDict[tuple[Any, ...], tuple[_Tables, Listing]] = OrderedDict()

    def whole(self) -> Listing:
        """What routes show to everybody, made once for each state; what users' own servers have is not in it."""
        state = self._proxy.state
        if state is None:
            return NOTHING
        before, known = self._whole
        if before is not state:
            self._callers.clear()
            same = before is not None and before.config is state.config
            shown = {path: table.tools for path, table in state.table.items()}
            # For the same configuration entries that stay keep their documents; their ids are worked out anew.
            self._whole = state, listing(state.config, shown, Listing({}, {}, known.places) if same else None)
        return self._whole[1]

    def of(self, principal: Principal | None, user: str | None = None, path: str | None = None) -> Listing:
        """Of one route, or of all."""
        state, whole = self._proxy.state, self.whole()
        if state is None:
            return NOTHING
        who = self.user(principal, user)
        if path is None and is_open(state.policy, principal) and (who is None or not state.personal_on):
            return whole
        tables = self._tables(state, who, path)
        key = (path, who, None if principal is None else (principal.key, principal.token))
        made = self._callers.get(key)
        if made is None or not _same(made[0], tables):
            shown = {route: state.policy.visible(principal, table).tools for route, table in tables}
            made = self._callers[key] = tables, listing(state.config, shown, whole)
            while len(self._callers) > MOST_CALLERS:
                self._callers.popitem(last=False)
        self._callers.move_to_end(key)
        return made[1]

    async def decide(self, principal: Principal | None, user: str | None = None, path: str | None = None) -> None:
        """Let the policy decide in turns with other work what `of` is going to ask it."""
        state = self._proxy.state
        if state is None or is_open(state.policy, principal):
            return
        for _, table in self._tables(state, self.user(principal, user), path):
            await state.policy.shown(principal, table)

    def user(self, principal: Principal | None, user: str | None) -> str | None:
        """Whose servers are meant."""
        state = self._proxy.state
        return user if user is not None or state is None else user_of(principal, state.config.users)

    async def look(self, principal: Principal | None, user: str | None = None, path: str | None = None) -> None:
        """Let the user's own instances list what they have, as far as that takes no longer than to connect."""
        state, who = self._proxy.state, self.user(principal, user)
        if state is None or who is None or not state.personal_on:
            return
        tables = self._proxy.services.users.tables
        routes = [route for route in state.personal_on if path is None or route == path]
        await asyncio.gather(*(tables.table_for(route, who, principal) for route in routes))

    def up(self, shared: Mapping[str, bool], user: str | None) -> Mapping[str, bool]:
        """`shared`, and whether the user's own instances answer; one that is not running is started by a call."""
        state = self._proxy.state
        if state is None or user is None or not state.personal:
            return shared
        instances = self._proxy.services.users.instances
        own = {}
        for server in state.personal:
            held = instances.held(server, user)
            own[server] = held is None or not held.asked.is_set() or held.available
        return {**shared, **own}

    def _tables(self, state: "State", user: str | None, path: str | None) -> _Tables:
        found = []
        for route, table in state.table.items():
            if path is None or route == path:
                own = None
                if user is not None and route in state.personal_on:
                    own = self._proxy.services.users.tables.table(route, user)
                found.append((route, own or table))
        return tuple(found)


def _same(one: _Tables, other: _Tables) -> bool:
    return len(one) == len(other) and all(a[1] is b[1] for a, b in zip(one, other, strict=True))
