"""Which resources a set of policies cannot tell apart: one of them is judged, and all others with it. Pure.

Policies that speak of annotations, servers or categories have few kinds of tools, so that 1,000 tools take a few
judgements. The form is Cedar's JSON policy format (docs.cedarpolicy.com, "JSON policy format"). Whatever is not
understood for certain makes every resource a kind of its own.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mcp_operator_proxy.authz.entities import Entity

_RESOURCE: Final = {"Var": "resource"}
_COMPARED: Final = frozenset({"==", "!=", "in"})
_READ: Final = frozenset({".", "has"})


@dataclass
class Looks:
    """What policies look at: `attributes` of a resource, and entities that they name."""

    attributes: set[str] = field(default_factory=set)
    named: set[tuple[str, str]] = field(default_factory=set)

    def kind(self, entity: Entity) -> str:
        """Equal for resources that the policies cannot tell apart."""
        uid = (entity["uid"]["type"], entity["uid"]["id"])
        seen = {name: entity["attrs"].get(name) for name in self.attributes}
        return json.dumps([uid[0], entity["parents"], uid if uid in self.named else None, seen], sort_keys=True)


def looks_of(policies: Mapping[str, Any]) -> Looks | None:
    """Of static policies by their ids; None where nobody can say."""
    looks = Looks()
    try:
        for policy in policies.values():
            for part in ("principal", "action", "resource"):
                _name_entities(policy[part], looks)
            if not all(_understood(condition["body"], looks) for condition in policy["conditions"]):
                return None
    except (KeyError, TypeError, AttributeError, RecursionError):
        return None
    return looks


def _name_entities(node: Any, looks: Looks) -> None:
    """Note all entities in a scope: `{"entity": {"type": …, "id": …}}`, `{"entities": […]}`."""
    if isinstance(node, Mapping):
        if "type" in node and "id" in node:
            looks.named.add((node["type"], node["id"]))
        for inner in node.values():
            _name_entities(inner, looks)
    elif isinstance(node, list):
        for inner in node:
            _name_entities(inner, looks)


def _understood(node: Any, looks: Looks) -> bool:
    """Note what an expression looks at. False where the resource is used as a whole, as a value."""
    if isinstance(node, list):
        return all(_understood(inner, looks) for inner in node)
    if not isinstance(node, Mapping):
        return True
    if node == _RESOURCE:
        return False
    if "Value" in node:
        return _named(node["Value"], looks)
    return all(_operation(name, inner, looks) for name, inner in node.items())


def _operation(name: str, inner: Any, looks: Looks) -> bool:
    if not isinstance(inner, Mapping) or inner.get("left") != _RESOURCE:
        if name in _COMPARED and isinstance(inner, Mapping) and inner.get("right") == _RESOURCE:
            return _is_literal(inner["left"]) and _understood(inner["left"], looks)
        return _understood(inner, looks)
    if name in _READ:
        looks.attributes.add(inner["attr"])
        return True
    if name in _COMPARED:
        return _is_literal(inner["right"]) and _understood(inner["right"], looks)
    if name == "is":
        return "in" not in inner or (_is_literal(inner["in"]) and _understood(inner["in"], looks))
    return False


def _is_literal(node: Any) -> bool:
    if not isinstance(node, Mapping) or len(node) != 1:
        return False
    return "Value" in node or ("Set" in node and all(_is_literal(each) for each in node["Set"]))


def _named(value: Any, looks: Looks) -> bool:
    if isinstance(value, Mapping):
        if "__entity" in value:
            looks.named.add((value["__entity"]["type"], value["__entity"]["id"]))
            return True
        return all(_named(inner, looks) for inner in value.values())
    return not isinstance(value, list) or all(_named(inner, looks) for inner in value)
