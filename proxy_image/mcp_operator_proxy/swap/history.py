"""The swaps of a proxy's life: which configurations came into use or were refused, and what they changed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from mcp_operator_proxy.config import ProxyConfig

KEPT: Final = 64
MOST_CHANGES: Final = 200
"""Of one swap that are kept; of the rest only how many there are."""
_OWN: Final = frozenset({"version", "revision", "servers", "routes"})
Kind = Literal["server", "route", "setting"]
What = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class Difference:
    """`fields` are those with another value, by their names in the configuration; values, which may be confidential, are not told."""

    kind: Kind
    name: str
    change: What
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Swap:
    """`changes` are the first of `total`. Of one that was rejected there are none."""

    revision: str | None
    at: datetime
    outcome: Literal["applied", "rejected"]
    seconds: float | None = None
    message: str | None = None
    changes: tuple[Difference, ...] = ()
    total: int = 0


class History:
    """The newest swaps, the oldest first."""

    def __init__(self) -> None:
        self.swaps: tuple[Swap, ...] = ()

    def add(self, swap: Swap) -> None:
        """What has changed may be known later than what came after it."""
        self.swaps = tuple(sorted((*self.swaps, swap), key=lambda one: one.at)[-KEPT:])


def applied(before: ProxyConfig | None, after: ProxyConfig, at: datetime, seconds: float) -> Swap:
    """Of a configuration that has come into use. Pure."""
    found = differences(before, after)
    return Swap(after.revision, at, "applied", seconds, None, tuple(found[:MOST_CHANGES]), len(found))


def differences(before: ProxyConfig | None, after: ProxyConfig) -> list[Difference]:
    """What is another one now: servers, routes (by path), settings. Pure."""
    return [
        *_named("server", {s.id: s for s in before.servers} if before else {}, {s.id: s for s in after.servers}),
        *_named("route", {r.path: r for r in before.routes} if before else {}, {r.path: r for r in after.routes}),
        *(_settings(before, after) if before is not None else ()),
    ]


def _named(kind: Kind, before: Mapping[str, BaseModel], after: Mapping[str, BaseModel]) -> Iterator[Difference]:
    yield from (Difference(kind, name, "removed") for name in before if name not in after)
    for name, now in after.items():
        old = before.get(name)
        if old is None:
            yield Difference(kind, name, "added")
        elif fields := tuple(_fields(old, now)):
            yield Difference(kind, name, "changed", fields)


def _settings(before: ProxyConfig, after: ProxyConfig) -> Iterable[Difference]:
    for name in ProxyConfig.model_fields:
        old, now = getattr(before, name), getattr(after, name)
        if name in _OWN or old == now:
            continue
        what: What = "added" if old is None else "removed" if now is None else "changed"
        nested = isinstance(old, BaseModel) and isinstance(now, BaseModel)
        yield Difference("setting", to_camel(name), what, tuple(_fields(old, now)) if nested else ())


def _fields(old: BaseModel, now: BaseModel) -> Iterator[str]:
    if old == now:
        return
    for name in type(now).model_fields:
        if getattr(old, name, None) != getattr(now, name):
            yield to_camel(name)
