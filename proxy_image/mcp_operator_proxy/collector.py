"""The garbage collector of a proxy that has its process to itself.

A full collection looks at every object there is: with a thousand servers it holds up all calls for a tenth of a second or
more, and opening a thousand connections sets off many. What was made by the start and by swaps lives long; it is put
out of the collector's sight (`gc.freeze`), and comes back into it once much of it may have become garbage.
"""

import gc
from typing import Final

THRESHOLDS: Final = (20_000, 20, 50)
"""Allocations before the youngest generation is looked at (Python's own: 700), and how often before the next one is."""
SHARE: Final = 0.25
"""Frozen servers that are gone, as a share of those in use, before everything is collected: Python's own rule for objects."""


class Collector:
    """Call `started` once all is imported, and `settled` when servers have been added or have gone."""

    def __init__(self) -> None:
        self._gone = 0

    def started(self) -> None:
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)

    def settled(self, *, servers: int, gone: int = 0) -> None:
        """`servers` are in use, and `gone` more have been closed since the last time."""
        self._gone += gone
        if self._gone > max(8, servers * SHARE):
            self._gone = 0
            gc.unfreeze()
            gc.collect()
        gc.freeze()
