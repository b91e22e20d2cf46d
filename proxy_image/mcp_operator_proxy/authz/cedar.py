"""Policies in the Cedar language: parsed once, and asked. Imports an extra.

Cedar passes over a policy that fails while it is evaluated. For a `permit` that is safe; a `forbid` that fails would let
through what it was written against, so here it forbids.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import cedarpy

from mcp_operator_proxy.authz.entities import Entity, Uid
from mcp_operator_proxy.authz.likeness import looks_of
from mcp_operator_proxy.authz.syntax import parse

_NAMED: Final = re.compile(r"policy `([^`]*)`")


class Policies:
    """Raises BadPolicies."""

    def __init__(self, text: str) -> None:
        self._set, static = parse(text)
        self._forbidding = frozenset(name for name, policy in static.items() if policy.get("effect") == "forbid")
        self._names = {name: policy.get("annotations", {}).get("id") or name for name, policy in static.items()}
        """By which their author knows them."""
        self.looks = looks_of(static)
        """What they look at of a resource; None: nobody can say."""
        self.uses_context = "context" in text
        """Whether a policy may look at the context, which costs for each thing that is asked about."""

    def allowed(
        self, principal: Uid, action: str, resources: Sequence[Uid], entities: "cedarpy.Entities", context: str | None
    ) -> list[bool]:
        """Whether `principal` may do `action` with each of `resources`. `context` is a JSON object."""
        shared: dict[str, Any] = {"principal": principal, "action": {"type": "Action", "id": action}}
        if context is not None:
            shared["context"] = context
        answers = cedarpy.is_authorized_batch([{**shared, "resource": each} for each in resources], self._set, entities)
        return [self._allows(answer) for answer in answers]

    def explained(
        self, principal: Uid, action: str, resource: Uid, entities: "cedarpy.Entities", context: str | None
    ) -> tuple[bool, list[str]]:
        """The decision, and the policies that made it: those that forbid, else those that permit. By `@id`, where they have one."""
        asked: dict[str, Any] = {
            "principal": principal,
            "action": {"type": "Action", "id": action},
            "resource": resource,
        }
        if context is not None:
            asked["context"] = context
        (answer,) = cedarpy.is_authorized_batch([asked], self._set, entities)
        failed = [str(named[1]) for error in answer.diagnostics.errors if (named := _NAMED.search(error)) is not None]
        made = [*answer.diagnostics.reasons, *(name for name in failed if name in self._forbidding)]
        return self._allows(answer), [self._names.get(name, name) for name in dict.fromkeys(made)]

    def _allows(self, answer: cedarpy.AuthzResult) -> bool:
        if not answer.allowed:
            return False
        for error in answer.diagnostics.errors:
            named = _NAMED.search(error)
            if named is None or named[1] in self._forbidding:
                return False
        return True


def parse_entities(entities: Sequence[Entity]) -> "cedarpy.Entities":
    """Ready to be asked about; of two with one name the first counts."""
    first: dict[tuple[str, str], Entity] = {}
    for entity in entities:
        first.setdefault((entity["uid"]["type"], entity["uid"]["id"]), entity)
    return cedarpy.Entities.from_json_str(json.dumps(list(first.values())))


def with_entity(entities: "cedarpy.Entities", entity: Entity) -> "cedarpy.Entities":
    return entities.with_added_json_str(json.dumps([entity]))
