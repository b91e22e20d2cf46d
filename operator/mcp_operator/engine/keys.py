"""The unit of work: the name of one object."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Names one object. `namespace` is "" for a cluster-scoped one."""

    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, kind: str, body: Mapping[str, Any]) -> Self:
        """The key of an object as the API server returned it. `KeyError` without `metadata.name`."""
        metadata = body["metadata"]
        return cls(kind, metadata.get("namespace") or "", metadata["name"])

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"
