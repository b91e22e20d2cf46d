"""What each watch stream has told, and what it owes: a stream that is stuck differs from one of which nothing is to be told.

Positions are resourceVersions, which may be compared within one kind (KEP-5504). A stream *owes* a change from when the API server
showed that it has one of a later version than the stream ever told. The time of a debt counts only while the API server can be
asked: an API server that is away is no fault of the stream.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from mcp_operator.engine.store import number


@dataclass(frozen=True, slots=True, order=True)
class Stream:
    """One watch: a kind, in one namespace ("": in all of them)."""

    kind: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind} of namespace {self.namespace}" if self.namespace else self.kind


@dataclass(slots=True)
class _State:
    fresh_at: float
    position: int = 0
    owed: int = 0
    """The version that the stream has to reach; 0: it owes nothing."""
    owed_since: float = 0.0


class Streams:
    """The state of every stream. `clock` gives seconds."""

    def __init__(self, streams: Iterable[Stream], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._states = {stream: _State(clock()) for stream in streams}

    def __iter__(self) -> Iterator[Stream]:
        return iter(self._states)

    def told(self, stream: Stream, version: str | None) -> None:
        """The stream brought an object (or the deletion of one) of this version."""
        state = self._states.get(stream)
        if state is not None:
            self._advance(state, number(version) or 0)
            if state.owed <= state.position:
                state.fresh_at, state.owed = self._clock(), 0

    def confirmed(self, stream: Stream, version: str | None) -> None:
        """The API server has nothing up to `version` (None: unknown) that the stream has not told."""
        state = self._states[stream]
        self._advance(state, number(version) or 0)
        state.fresh_at, state.owed = self._clock(), 0

    def began(self, stream: Stream, version: str) -> None:
        """What existed at `version` was listed: a stream that tells nothing at all has missed nothing before it."""
        state = self._states.get(stream)
        if state is not None and not state.position:
            self._advance(state, number(version) or 0)

    def owes(self, stream: Stream, version: str | None) -> None:
        """The API server has an object of this version. A debt that stands already is the older one, and stays."""
        state, seen = self._states.get(stream), number(version) or 0
        if state is not None and seen > state.position and not state.owed:
            state.owed, state.owed_since = seen, self._clock()

    def excused(self, stream: Stream) -> None:
        """The API server could not be asked: the time of a debt starts anew."""
        self._states[stream].owed_since = self._clock()

    def position(self, stream: Stream) -> str | None:
        """The latest version that is known to be told; None before anything is."""
        position = self._states[stream].position
        return str(position) if position else None

    def age(self, stream: Stream) -> float:
        """Seconds since the stream was last known to be complete: since it told, or since nothing was found missing."""
        return self._clock() - self._states[stream].fresh_at

    def debt(self, stream: Stream) -> float | None:
        """For how many seconds the stream has owed a change; None: it owes nothing."""
        state = self._states[stream]
        return self._clock() - state.owed_since if state.owed else None

    def stuck(self, patience: float) -> list[Stream]:
        """Streams that owed a change for `patience` seconds or more."""
        return [stream for stream in self._states if (self.debt(stream) or 0.0) >= patience]

    def ages(self) -> dict[str, float]:
        """The greatest age of each kind's streams."""
        ages: dict[str, float] = {}
        for stream in self._states:
            ages[stream.kind] = max(self.age(stream), ages.get(stream.kind, 0.0))
        return ages

    @staticmethod
    def _advance(state: _State, version: int) -> None:
        state.position = max(state.position, version)
