"""The policies of one configuration, and what they have decided: a decision is made once for a caller and a thing.

It holds for as long as the caller's token and the route's entry are the same. A renewed token brings its own claims, so
it is asked for anew.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.authz.cedar import BadPolicies, Policies, parse_entities, with_entity
from mcp_operator_proxy.authz.entities import (
    ACTIONS,
    Entity,
    Uid,
    claims_of,
    principal_entity,
    principal_uid,
    resource_entity,
    resource_uid,
)
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.registry.listing import category
from mcp_operator_proxy.swap.validate import ConfigRejected
from mcp_operator_proxy.table import Entry, Kind, RouteTable

if TYPE_CHECKING:
    from cedarpy import Entities

MAX_CALLERS: Final = 1_024
"""Whose decisions are kept; then those of the one that came longest ago go."""
MAX_DECISIONS: Final = 16_384
"""Of one caller; then they begin anew."""
REFUSED: Final = "no policy permits it"
_KINDS: Final[Mapping[Kind, str]] = {
    "tool": "tools",
    "prompt": "prompts",
    "resource": "resources",
    "resource_template": "resource_templates",
}


def make(config: ProxyConfig) -> "CedarPolicy":
    """The policy of a configuration that has one. Raises ConfigRejected."""
    assert config.authorization is not None
    try:
        return CedarPolicy(config, Policies(config.authorization.policies))
    except BadPolicies as error:
        raise ConfigRejected(f"authorization.policies: {error}", config.revision) from None


class _Caller:
    """What has been decided for one caller."""

    __slots__ = ("decisions", "principal", "shown")

    def __init__(self, principal: Principal | None) -> None:
        self.principal = principal
        self.decisions: dict[tuple[str, Kind, str], tuple[Entry, bool]] = {}
        self.shown: dict[str, tuple[RouteTable, RouteTable]] = {}
        """By the path of the route: its table, and what of it the caller may use."""


@dataclass(frozen=True)
class _Known:
    """What is made ready of a table for all callers."""

    table: RouteTable
    entities: "Entities"
    """One for each kind of thing that the policies tell apart."""
    kinds: Mapping[Kind, tuple[list[Uid], list[int]]]
    """The names of these, and for each entry of the table which of them it is like."""


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
        self._tables: dict[str, _Known] = {}

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

    def visible(self, principal: Principal | None, table: RouteTable) -> RouteTable:
        caller = self._of(principal)
        found = caller.shown.get(table.path)
        if found is None or found[0] is not table:
            found = caller.shown[table.path] = table, self._filtered(principal, table)
        return found[1]

    def _of(self, principal: Principal | None) -> _Caller:
        key = id(principal)
        found = self._callers.get(key)
        if found is None or found.principal is not principal:
            while len(self._callers) >= MAX_CALLERS:
                self._callers.popitem(last=False)
            found = self._callers[key] = _Caller(principal)
        return found

    def _decide(self, principal: Principal | None, route: str, kind: Kind, name: str, entry: Entry) -> bool:
        entities = parse_entities([principal_entity(principal), self._entity(kind, name, entry, route)])
        asked = principal_uid(principal), ACTIONS[kind], [resource_uid(kind, entry)]
        return self._policies.allowed(*asked, entities, self._context(principal, route))[0]

    def _filtered(self, principal: Principal | None, table: RouteTable) -> RouteTable:
        known = self._known(table)
        entities = with_entity(known.entities, principal_entity(principal))
        context, uid = self._context(principal, table.path), principal_uid(principal)
        kept: dict[str, Any] = {}
        for kind, attribute in _KINDS.items():
            entries: Mapping[str, Entry] = getattr(table, attribute)
            resources, alike = known.kinds[kind]
            allowed = self._policies.allowed(uid, ACTIONS[kind], resources, entities, context) if resources else []
            kept[attribute] = MappingProxyType(
                {name: entry for (name, entry), like in zip(entries.items(), alike, strict=True) if allowed[like]}
            )
        return replace(table, **kept)

    def _known(self, table: RouteTable) -> _Known:
        """Made once for each table."""
        found = self._tables.get(table.path)
        if found is None or found.table is not table:
            found = self._tables[table.path] = self._made_known(table)
        return found

    def _made_known(self, table: RouteTable) -> _Known:
        kinds: dict[Kind, tuple[list[Uid], list[int]]] = {}
        judged: list[Entity] = []
        for kind, attribute in _KINDS.items():
            entries: Mapping[str, Entry] = getattr(table, attribute)
            places: dict[str, int] = {}
            uids: list[Uid] = []
            alike: list[int] = []
            for name, entry in entries.items():
                entity = self._entity(kind, name, entry, table.path)
                likeness = self._policies.looks.kind(entity) if self._policies.looks is not None else name
                place = places.setdefault(likeness, len(uids))
                if place == len(uids):
                    uids.append(entity["uid"])
                    judged.append(entity)
                alike.append(place)
            kinds[kind] = uids, alike
        return _Known(table, parse_entities(judged), kinds)

    def _entity(self, kind: Kind, name: str, entry: Entry, route: str) -> dict[str, Any]:
        said = category(self._servers.get(entry.server), entry.name, entry.definition)
        return resource_entity(kind, name, entry, route, said)

    def _context(self, principal: Principal | None, route: str) -> str | None:
        if not self._policies.uses_context:
            return None
        return json.dumps({"route": route, "claims": claims_of(principal)})
