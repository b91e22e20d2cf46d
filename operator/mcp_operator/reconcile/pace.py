"""How often the configuration of one proxy changes: as soon as it is edited, and rarely in a flood of edits.

Two thousand servers that are applied at once would otherwise be as many configurations, each written, brought to every pod
and swapped in. An edit is served at once, the next one not before `FIRST_SECONDS` are over. While edits come to the whole
cluster faster than people make them, each configuration of a proxy stands longer than the one before.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mcp_operator.engine.keys import Key

FIRST_SECONDS: Final = 0.25
GROWTH: Final = 4.0
LONGEST_SECONDS: Final = 15.0
FLOOD_EDITS: Final = 50
FLOOD_SECONDS: Final = 2.5
"""So many edits of resources in that time are a flood."""
LOOK_SECONDS: Final = 1.0
"""How soon is looked again whether a flood is over."""


@dataclass(slots=True)
class _Run:
    """The configuration that stands since `at`, and for how long in a flood. `generation` is that of the McpProxy then."""

    generation: int
    at: float
    seconds: float
    waited: bool = False


class Pace:
    """Ask `wait` before a configuration is compiled; say `changed` when it became another, else `unchanged`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._runs: dict[Key, _Run] = {}
        self._edits: deque[float] = deque(maxlen=FLOOD_EDITS)

    def edited(self) -> None:
        """Somebody has edited, made or deleted a resource."""
        self._edits.append(self._clock())

    def wait(self, proxy: Key, generation: int) -> float:
        """Seconds until it is worth asking again whether the proxy may be given another configuration; 0: it may.

        An edit of the proxy itself does not wait.
        """
        run = self._runs.get(proxy)
        if run is None or run.generation != generation:
            return 0.0
        now = self._clock()
        left = run.at + (run.seconds if self._is_flood(now) else FIRST_SECONDS) - now
        if left <= 0:
            return 0.0
        run.waited = True
        return min(left, LOOK_SECONDS)

    def changed(self, proxy: Key, generation: int) -> None:
        """The configuration is another one than before."""
        run, now = self._runs.get(proxy), self._clock()
        grows = run is not None and run.waited and self._is_flood(now)
        seconds = min(run.seconds * GROWTH, LONGEST_SECONDS) if run is not None and grows else FIRST_SECONDS
        self._runs[proxy] = _Run(generation, now, seconds)

    def unchanged(self, proxy: Key) -> None:
        """Whoever waited did so for something else."""
        if (run := self._runs.get(proxy)) is not None:
            run.waited = False

    def forget(self, proxy: Key) -> None:
        """Drop what is remembered of a proxy that is gone."""
        self._runs.pop(proxy, None)

    def _is_flood(self, now: float) -> bool:
        return len(self._edits) == FLOOD_EDITS and now - self._edits[0] <= FLOOD_SECONDS
