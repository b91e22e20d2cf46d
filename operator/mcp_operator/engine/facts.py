"""Observed truth that no API object holds: probe results, replica reports."""

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from operator import eq
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Facts(Mapping[K, V], Generic[K, V]):
    """A mapping that tells whether a new fact differs from the known one.

    `same(old, new)` decides; give one that ignores what changes each time (a latency) to enqueue on changes of state alone.
    The newest value is kept in any case.
    """

    def __init__(self, same: Callable[[V, V], bool] = eq) -> None:
        self._facts: dict[K, V] = {}
        self._same = same

    def __getitem__(self, key: K) -> V:
        return self._facts[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def set(self, key: K, value: V) -> bool:
        """Keep `value`; whether that is news."""
        changed = key not in self._facts or not self._same(self._facts[key], value)
        self._facts[key] = value
        return changed

    def discard(self, key: K) -> bool:
        """Forget `key`; whether it was known."""
        known = key in self._facts
        self._facts.pop(key, None)
        return known

    def retain(self, keys: Collection[K]) -> list[K]:
        """Forget all but `keys`; what was forgotten."""
        gone = [key for key in self._facts if key not in keys]
        for key in gone:
            del self._facts[key]
        return gone
