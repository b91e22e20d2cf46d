"""`ttlMs` and `cacheScope` (SEP-2549) of lists that are made of the lists of several servers. Pure.

What a client is told is never longer than what any of the servers said, and is counted from the moment when the server was
asked. A list with the part of a server that said nothing (as those of the handshake eras), or that was never listed, is
stale at once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Freshness:
    """How long a result may be used again, and whether by others than who asked."""

    ttl_ms: int = 0
    public: bool = False

    def wire(self) -> dict[str, Any]:
        return {"ttlMs": self.ttl_ms, "cacheScope": "public" if self.public else "private"}


STALE: Final = Freshness()


def freshness_of(result: Mapping[str, Any]) -> Freshness:
    """What a result of a server says of itself."""
    ttl = result.get("ttlMs")
    if not isinstance(ttl, int) or isinstance(ttl, bool) or ttl <= 0:
        return STALE
    return Freshness(ttl, result.get("cacheScope") == "public")


def least(parts: Iterable[Freshness]) -> Freshness:
    """Of a result that is made of `parts`: the shortest time, the strictest scope; without parts it is stale."""
    found: Freshness | None = None
    for part in parts:
        if part.ttl_ms <= 0:
            return STALE
        found = part if found is None else Freshness(min(found.ttl_ms, part.ttl_ms), found.public and part.public)
    return found or STALE


def aged(said: Freshness, seconds: float) -> Freshness:
    """What is left of it after so many seconds."""
    left = said.ttl_ms - int(seconds * 1000) - 1
    return Freshness(left, said.public) if left > 0 else STALE
