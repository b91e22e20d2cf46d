"""Rights as RBAC knows them: those that a role grants, and those that requests to an API server use.

Source: Kubernetes, "Authorization Overview", determining the request verb; "Server-Side Apply": creating by it takes `create` too.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from support.between import Asked

Right = tuple[str, str, str]
"""API group, resource (`mcpservers/status`), verb."""

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
CREATED = 201


def granted(*roles: dict[str, Any]) -> set[Right]:
    """What these roles allow; a rule that is for some names alone counts as any other."""
    return {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(asked: Iterable[Asked]) -> set[Right]:
    """What was asked for resources; discovery needs no right of one's own."""
    return {right for one in asked for right in _rights(one)}


def _rights(asked: Asked) -> Iterator[Right]:
    first, *rest = asked.path.strip("/").split("/")
    group = rest.pop(0) if first == "apis" and rest else ""
    named = rest[1:]  # without the version
    if named[:1] == ["namespaces"] and len(named) > 2:
        named = named[2:]
    if not named:
        return
    resource = "/".join([named[0], *named[2:]])
    if asked.method != "GET":
        yield group, resource, _VERBS[asked.method]
        if asked.method == "PATCH" and asked.status == CREATED:
            yield group, resource, "create"
    elif asked.watches:
        yield group, resource, "watch"
    else:
        yield group, resource, "get" if len(named) > 1 else "list"
