"""What `kubectl apply` would send for a custom resource: a three-way JSON merge patch. Pure.

Source: https://kubernetes.io/docs/tasks/manage-kubernetes-objects/declarative-config/#how-apply-calculates-differences-and-merges-changes
"""

import json
from collections.abc import Mapping
from typing import Any, Final

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


def three_way(last: Mapping[str, Any], wanted: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch (RFC 7386) that makes `live` as `wanted`: what `last` had and `wanted` has not is removed.

    Fields of `live` that neither names are somebody else's and stay. Lists are replaced whole. Empty: nothing to do.
    """
    patch: dict[str, Any] = {key: None for key in last if key not in wanted and key in live}
    for key, value in wanted.items():
        known, before = live.get(key), last.get(key)
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            deeper = three_way(before if isinstance(before, Mapping) else {}, value, known)
            if deeper:
                patch[key] = deeper
        elif value != known:
            patch[key] = value
    return patch


def last_applied(live: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest that was applied last, as `kubectl apply` noted it or, of server-side apply, what that owns of `spec`.

    Empty where nobody applied it.
    """
    annotations = live["metadata"].get("annotations") or {}
    try:
        noted = json.loads(annotations.get(LAST_APPLIED, "null"))
    except ValueError:
        noted = None
    if isinstance(noted, dict):
        return noted
    owned: dict[str, Any] = {}
    for entry in live["metadata"].get("managedFields") or ():
        if entry.get("operation") == "Apply" and not entry.get("subresource"):
            owned = _union(owned, _owned(entry.get("fieldsV1") or {}, live))
    return owned


def _owned(fields: Mapping[str, Any], live: Any) -> dict[str, Any]:
    """The part of `live` that a fieldsV1 set names; lists count whole, as the merge patch replaces them."""
    found: dict[str, Any] = {}
    for name, deeper in fields.items():
        key = name.removeprefix("f:")
        if not name.startswith("f:") or not isinstance(live, Mapping) or key not in live:
            continue
        value = live[key]
        found[key] = _owned(deeper, value) if deeper and isinstance(value, Mapping) else value
    return found


def _union(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(one)
    for key, value in other.items():
        mine = found.get(key)
        found[key] = _union(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return found
