"""Whether a live object still says what was applied: pure, so that an unchanged world costs no request."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from mcp_operator.api.meta import ANNOTATION_APPLIED_HASH

_SUFFIXES: Final = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(1000),
    "M": Decimal(1000) ** 2,
    "G": Decimal(1000) ** 3,
    "T": Decimal(1000) ** 4,
    "P": Decimal(1000) ** 5,
    "E": Decimal(1000) ** 6,
    "Ki": Decimal(1024),
    "Mi": Decimal(1024) ** 2,
    "Gi": Decimal(1024) ** 3,
    "Ti": Decimal(1024) ** 4,
    "Pi": Decimal(1024) ** 5,
    "Ei": Decimal(1024) ** 6,
}
_ATOMIC_FIELDS: Final = frozenset({"selector", "podSelector", "namespaceSelector", "matchLabels", "nodeSelector"})
"""Maps that the API takes as one value: with one more label, a selector finds something else."""
_QUANTITY_FIELDS: Final = frozenset({"requests", "limits"})


def with_hash(desired: Mapping[str, Any]) -> dict[str, Any]:
    """The object with the hash of itself as an annotation: how a field that is no longer set is noticed later."""
    digest = hashlib.sha256(json.dumps(desired, sort_keys=True).encode()).hexdigest()[:16]
    metadata = desired["metadata"]
    annotations = {**metadata.get("annotations", {}), ANNOTATION_APPLIED_HASH: digest}
    return {**desired, "metadata": {**metadata, "annotations": annotations}}


def drifted(desired: Mapping[str, Any], live: Mapping[str, Any] | None) -> bool:
    """True when `live` is missing, lacks anything of `desired` (which has its hash), or has another hash."""
    return live is None or not _covers(live, desired, field="")


def _covers(live: Any, desired: Any, *, field: str) -> bool:
    match desired:
        case Mapping():
            if not desired and live is None:
                return True
            if field in _ATOMIC_FIELDS and isinstance(live, Mapping) and live.keys() != desired.keys():
                return False
            return isinstance(live, Mapping) and all(
                _covers(live.get(key), value, field=field if field in _QUANTITY_FIELDS else key)
                for key, value in desired.items()
            )
        case str():
            return bool(live == desired) or (field in _QUANTITY_FIELDS and _same_quantity(live, desired))
        case Sequence():
            return (not desired and live is None) or (
                isinstance(live, Sequence) and _list_covers(live, desired, field=field)
            )
        case _:
            return bool(live == desired)


def _list_covers(live: Sequence[Any], desired: Sequence[Any], *, field: str) -> bool:
    """Lists of named elements (env, ports, containers) are maps to the API: others may have added theirs."""
    if desired and all(isinstance(item, Mapping) and "name" in item for item in desired):
        named = defaultdict(list)
        for item in live:
            if isinstance(item, Mapping):
                named[item.get("name")].append(item)
        return all(any(_covers(other, item, field=field) for other in named[item["name"]]) for item in desired)
    return len(live) == len(desired) and all(
        _covers(mine, theirs, field=field) for mine, theirs in zip(live, desired, strict=True)
    )


def _same_quantity(one: Any, other: Any) -> bool:
    """Whether two Kubernetes quantities are equal in value: the API server rewrites `1000m` as `1`."""
    try:
        return _quantity(str(one)) == _quantity(str(other))
    except ArithmeticError:
        return False


def _quantity(text: str) -> Decimal:
    for length in (2, 1):
        if text[-length:] in _SUFFIXES:
            return Decimal(text[:-length]) * _SUFFIXES[text[-length:]]
    return Decimal(text)
