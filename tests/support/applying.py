"""Server-side apply and merge patch on plain dicts, as far as the operator's objects need it. Pure.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/ and RFC 7386.
"""

import copy
from collections.abc import Mapping
from typing import Any, Final

_KEYS: Final = {
    "ownerReferences": "uid",
    "conditions": "type",
    "containers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "imagePullSecrets": "name",
    "ports": "name",
}
"""By which field the elements of a list are told apart; all other lists are atomic."""
_GIVEN: Final = frozenset({"uid", "resourceVersion", "creationTimestamp", "generation"})


def apply_to(live: Mapping[str, Any], before: Mapping[str, Any], applied: Mapping[str, Any]) -> dict[str, Any]:
    """`live` with the fields of `applied`, and without those that only `before`, the last one of this manager, has."""
    result: dict[str, Any] = _merged(_without(copy.deepcopy(dict(live)), before, applied), applied)
    given = {key: value for key, value in (live.get("metadata") or {}).items() if key in _GIVEN}
    result["metadata"] = {**result["metadata"], **given}
    return result


def merge_patched(live: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    result = copy.deepcopy(dict(live))
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            known = result.get(key)
            result[key] = merge_patched(known if isinstance(known, Mapping) else {}, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _merged(live: Any, applied: Any, field: str = "") -> Any:
    if isinstance(applied, Mapping):
        known = live if isinstance(live, Mapping) else {}
        return {**known, **{key: _merged(known.get(key), value, key) for key, value in applied.items()}}
    if isinstance(applied, list) and field in _KEYS:
        by = _KEYS[field]
        known = {item[by]: item for item in live or []}
        return [*({**known, **{item[by]: _merged(known.get(item[by]), item) for item in applied}}).values()]
    return copy.deepcopy(applied)


def _without(live: Any, before: Any, applied: Any, field: str = "") -> Any:
    """`live` without what stands in `before` and not in `applied`."""
    if isinstance(live, Mapping) and isinstance(before, Mapping):
        now = applied if isinstance(applied, Mapping) else {}
        return {
            key: _without(value, before.get(key), now.get(key), key)
            for key, value in live.items()
            if key not in before or key in now or _is_shared(value, before[key])
        }
    if isinstance(live, list) and isinstance(before, list) and field in _KEYS:
        by = _KEYS[field]
        old, now = {item[by]: item for item in before}, {item[by]: item for item in applied or []}
        kept = [item for item in live if item[by] not in old or item[by] in now]
        return [_without(item, old.get(item[by]), now.get(item[by])) for item in kept]
    return live


def _is_shared(live: Any, before: Any) -> bool:
    """Whether somebody else has put something into a map that the manager no longer applies."""
    return isinstance(live, Mapping) and isinstance(before, Mapping) and bool(live.keys() - before.keys())
