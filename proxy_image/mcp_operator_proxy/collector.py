"""The garbage collector of a proxy that has its process to itself.

A full collection looks at every object there is: with a thousand servers it holds up all calls for a tenth of a second or
more, and opening a thousand connections sets off many. What was made by the start and by swaps lives long; it is put
out of the collector's sight (`gc.freeze`), and comes back into it, in a moment without calls, once much of it may be garbage.
"""

import gc
from typing import Final

THRESHOLDS: Final = (2_500, 4, 40)
"""Allocations before the youngest generation is looked at, and how often before each of the next ones is.

Python's own are 700, 10, 10. The second generation holds at most 12,500 objects, 5 ms of work; the third is looked at
when half a million have been added to it: more than a thousand new servers, less than a thousand closed sessions leave."""
DUE: Final = 0.25
"""Frozen servers that are gone, as a share of those in use, before they are to be collected: Python's own rule for objects."""
OVERDUE: Final = 2.0
"""And before that must be, calls or not."""
LEAST: Final = 8


class Collector:
    """Call `started` once all is imported, `settled` when servers have been added or have gone, `collect` when it is due."""

    def __init__(self) -> None:
        self._gone = 0
        self._servers = 0

    def started(self) -> None:
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)

    def settled(self, *, servers: int, gone: int = 0) -> None:
        """`servers` are in use, and `gone` more have been closed since the last time."""
        self._servers = servers
        self._gone += gone
        gc.freeze()

    @property
    def due(self) -> bool:
        """It is worth a moment in which nobody calls."""
        return self._gone > max(LEAST, self._servers * DUE)

    @property
    def overdue(self) -> bool:
        return self._gone > max(1000, self._servers * OVERDUE)

    def collect(self) -> None:
        self._gone = 0
        gc.unfreeze()
        gc.collect()
        gc.freeze()
