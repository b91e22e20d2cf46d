"""What of a route's table a caller may use, decided in small pieces: 1,000 judgements by name take 45 ms, and cedarpy holds
the GIL in all that it does, so that a thread would hold up the event loop just the same.
"""

from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar, cast

from mcp_operator_proxy.authz.cedar import Policies, parse_entities, with_entity
from mcp_operator_proxy.authz.entities import ACTIONS, Entity, Uid
from mcp_operator_proxy.table import Entry, Kind, RouteTable

if TYPE_CHECKING:
    from cedarpy import Entities

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
Pieces: TypeAlias = Generator[None, None, T]
PIECE: Final = 16
"""Judgements in one piece: a millisecond or two."""
PREPARED: Final = 64
"""Entries made ready in one piece: about as long."""
_KINDS: Final[Mapping[Kind, str]] = {
    "tool": "tools",
    "prompt": "prompts",
    "resource": "resources",
    "resource_template": "resource_templates",
}


class Work(Generic[T]):
    """Something that is made piece by piece, by everybody who waits for it: who comes later goes on where it stands."""

    __slots__ = ("_made", "_pieces", "error", "table")

    def __init__(self, table: RouteTable, pieces: Pieces[T]) -> None:
        self.table = table
        self.error: Exception | None = None
        self._pieces: Pieces[T] | None = pieces
        self._made: T | None = None

    @property
    def done(self) -> bool:
        return self._pieces is None

    def go_on(self) -> None:
        """Do the next piece, if any is left. Raises what it raises, then and ever after."""
        if self.error is not None:
            raise self.error
        if self._pieces is None:
            return
        try:
            next(self._pieces)
        except StopIteration as end:
            self._made, self._pieces = end.value, None
        except Exception as error:
            self.error = error
            raise

    def finish(self) -> T:
        """All that is left, at once."""
        while self._pieces is not None:
            self.go_on()
        return cast("T", self._made)


class Recent(Generic[K, V]):
    """What was asked for last, as long as its weights do not come to more than `most`; one stays whatever it weighs."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._weight = 0
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V | None:
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, weight: int) -> V:
        """Gives back `value`."""
        _, before = self._kept.pop(key, (value, 0))
        self._kept[key] = value, weight
        self._weight += weight - before
        while self._weight > self._most and len(self._kept) > 1:
            self._weight -= self._kept.popitem(last=False)[1][1]
        return value


@dataclass(frozen=True)
class Judged:
    """Some of the things of a table, as Cedar is asked about them."""

    kind: Kind
    uids: Sequence[Uid]
    entities: "Entities"


@dataclass(frozen=True)
class Known:
    """What is made ready of a table for all callers."""

    judged: Sequence[Judged]
    """Together one of each sort of things that the policies tell apart."""
    alike: Mapping[Kind, Sequence[int]]
    """For each entry of the table the place of the thing of its kind that it is like."""


def known_of(table: RouteTable, policies: Policies, entity: Callable[[Kind, str, Entry], Entity]) -> Pieces[Known]:
    """`entity`: what Cedar is told of an entry."""
    alike: dict[Kind, list[int]] = {}
    judged: list[Judged] = []
    for kind, entries in _entries(table):
        places: dict[str, int] = {}
        apart: list[Entity] = []
        alike[kind] = []
        for number, (name, entry) in enumerate(entries.items(), 1):
            made = entity(kind, name, entry)
            likeness = policies.looks.kind(made) if policies.looks is not None else name
            place = places.setdefault(likeness, len(apart))
            if place == len(apart):
                apart.append(made)
            alike[kind].append(place)
            if number % PREPARED == 0:
                yield
        for start in range(0, len(apart), PIECE):
            some = apart[start : start + PIECE]
            judged.append(Judged(kind, [each["uid"] for each in some], parse_entities(some)))
            if start % PREPARED == 0:
                yield
    return Known(judged, alike)


def shown_of(
    known: Work[Known], policies: Policies, principal: Entity, context: Callable[[], str | None]
) -> Pieces[RouteTable]:
    """The part of the table that `principal` may use."""
    while not known.done:
        known.go_on()
        yield
    made, asked = known.finish(), context()
    allowed: dict[Kind, list[bool]] = {kind: [] for kind in _KINDS}
    for some in made.judged:
        entities = with_entity(some.entities, principal)
        allowed[some.kind] += policies.allowed(principal["uid"], ACTIONS[some.kind], some.uids, entities, asked)
        yield
    kept: dict[str, Any] = {}
    for kind, entries in _entries(known.table):
        places = made.alike[kind]
        kept[_KINDS[kind]] = MappingProxyType(
            {name: entry for (name, entry), place in zip(entries.items(), places, strict=True) if allowed[kind][place]}
        )
    return replace(known.table, **kept)


def weight(table: RouteTable) -> int:
    """How many things it shows, and some more for what is kept of an empty one."""
    return 16 + sum(len(entries) for _, entries in _entries(table))


def _entries(table: RouteTable) -> Iterator[tuple[Kind, Mapping[str, Entry]]]:
    for kind, attribute in _KINDS.items():
        yield kind, getattr(table, attribute)
