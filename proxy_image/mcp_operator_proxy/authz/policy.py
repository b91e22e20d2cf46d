"""The policies of one configuration, and what they have decided: a decision is made once for a caller and a thing.

It holds for as long as the caller's token and the route's entry are the same. A renewed token brings its own claims, so
it is asked for anew.
"""

import json
from collections import OrderedDict
from functools import partial
from typing import Any, Final

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.authz.cedar import Policies, parse_entities
from mcp_operator_proxy.authz.entities import (
    ACTIONS,
    claims_of,
    principal_entity,
    principal_uid,
    resource_entity,
    resource_uid,
)
from mcp_operator_proxy.authz.lists import Known, Recent, Work, known_of, shown_of, weight
from mcp_operator_proxy.authz.syntax import BadPolicies
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.registry.listing import category
from mcp_operator_proxy.swap.pace import Turns
from mcp_operator_proxy.swap.validate import ConfigRejected
from mcp_operator_proxy.table import Entry, Kind, RouteTable

MAX_CALLERS: Final = 1_024
"""Whose decisions are kept; then those of the one that came longest ago go."""
MAX_DECISIONS: Final = 16_384
"""Of one caller; then they begin anew."""
MAX_SHOWN: Final = 262_144
"""Things in the tables of which is known what a caller may use, over all callers; then the lists that nobody asked for for
the longest time go."""
MAX_KNOWN: Final = 16_384
"""Things in the tables that are kept ready for the next caller: a table of each route, and of each user who has servers of
his own."""
REFUSED: Final = "no policy permits it"


def make(config: ProxyConfig) -> "CedarPolicy":
    """The policy of a configuration that has one. Raises ConfigRejected."""
    assert config.authorization is not None
    try:
        return CedarPolicy(config, Policies(config.authorization.policies))
    except BadPolicies as error:
        raise ConfigRejected(f"authorization.policies: {error}", config.revision) from None


class _Caller:
    """What has been decided for one caller."""

    __slots__ = ("decisions", "principal")

    def __init__(self, principal: Principal | None) -> None:
        self.principal = principal
        self.decisions: dict[tuple[str, Kind, str], tuple[Entry, bool]] = {}


class CedarPolicy:
    """See `policy.Policy`."""

    def __init__(self, config: ProxyConfig, policies: Policies) -> None:
        self._policies = policies
        self._made_of = (
            config.authorization,
            tuple((s.id, s.category, tuple((t.name, t.category) for t in s.tools)) for s in config.servers),
        )
        self._servers = {server.id: server for server in config.servers}
        self._callers: OrderedDict[int, _Caller] = OrderedDict()
        """By the identity of the principal, which each verified token has one of."""
        self._tables: Recent[int, Work[Known]] = Recent(MAX_KNOWN)
        self._shown: Recent[tuple[int, str], tuple[Principal | None, Work[RouteTable]]] = Recent(MAX_SHOWN)
        """By the identity of the principal and the path of the route."""
        self._turns = Turns()

    def __eq__(self, other: object) -> bool:
        """Whether they decide alike: then a swap keeps what has been decided."""
        return isinstance(other, CedarPolicy) and self._made_of == other._made_of

    __hash__ = None  # type: ignore[assignment]

    def refusal(self, principal: Principal | None, route: str, kind: Kind, name: str, entry: Entry) -> str | None:
        decisions = self._of(principal).decisions
        found = decisions.get((route, kind, name))
        if found is None or (found[0] is not entry and found[0] != entry):
            if len(decisions) >= MAX_DECISIONS:
                decisions.clear()
            found = decisions[route, kind, name] = entry, self._decide(principal, route, kind, name, entry)
        return None if found[1] else REFUSED

    def explain(
        self, principal: Principal | None, route: str, kind: Kind, name: str, entry: Entry
    ) -> tuple[bool, list[str]]:
        """As it is decided now, and by which policies. It is not remembered: few ask."""
        entities = parse_entities([principal_entity(principal), self._entity(route, kind, name, entry)])
        asked = principal_uid(principal), ACTIONS[kind], resource_uid(kind, entry)
        return self._policies.explained(*asked, entities, self._context(principal, route))

    def visible(self, principal: Principal | None, table: RouteTable) -> RouteTable:
        return self._deciding(principal, table).finish()

    async def shown(self, principal: Principal | None, table: RouteTable) -> RouteTable:
        work = self._deciding(principal, table)
        while not work.done:
            await self._turns.turn()
            work.go_on()
        return work.finish()

    def _deciding(self, principal: Principal | None, table: RouteTable) -> Work[RouteTable]:
        """Of an equal table that a swap has brought it is decided anew; who waits for the other one gets the other one."""
        key = id(principal), table.path
        found = self._shown.get(key)
        if found is not None and found[0] is principal and found[1].table is table and found[1].error is None:
            return found[1]
        context = partial(self._context, principal, table.path)
        pieces = shown_of(self._known(table), self._policies, principal_entity(principal), context)
        return self._shown.put(key, (principal, Work(table, pieces)), weight(table))[1]

    def _known(self, table: RouteTable) -> Work[Known]:
        """Made once for each table."""
        found = self._tables.get(id(table))
        if found is not None and found.error is None:
            return found
        pieces = known_of(table, self._policies, partial(self._entity, table.path))
        return self._tables.put(id(table), Work(table, pieces), weight(table))

    def _of(self, principal: Principal | None) -> _Caller:
        key = id(principal)
        found = self._callers.get(key)
        if found is None or found.principal is not principal:
            while len(self._callers) >= MAX_CALLERS:
                self._callers.popitem(last=False)
            found = self._callers[key] = _Caller(principal)
        return found

    def _decide(self, principal: Principal | None, route: str, kind: Kind, name: str, entry: Entry) -> bool:
        entities = parse_entities([principal_entity(principal), self._entity(route, kind, name, entry)])
        asked = principal_uid(principal), ACTIONS[kind], [resource_uid(kind, entry)]
        return self._policies.allowed(*asked, entities, self._context(principal, route))[0]

    def _entity(self, route: str, kind: Kind, name: str, entry: Entry) -> dict[str, Any]:
        said = category(self._servers.get(entry.server), entry.name, entry.definition)
        return resource_entity(kind, name, entry, route, said)

    def _context(self, principal: Principal | None, route: str) -> str | None:
        if not self._policies.uses_context:
            return None
        return json.dumps({"route": route, "claims": claims_of(principal)})
