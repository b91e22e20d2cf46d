"""When a process may get its first calls: a rolled-out pod must not answer less than those that it replaces."""

import time
from collections.abc import Callable
from typing import Final

CATCH_UP_SECONDS: Final = 10.0
"""After its start a process waits at most so long for the revision that is asked of it: the operator may be away."""
LISTED_SECONDS: Final = 5.0
"""And so long for the first word of its servers: one of them may be dead."""


class Readiness:
    """Once ready, a process stays so until it ends: what it has in use is better than nothing.

    Where nobody asks for a revision there is nobody that it replaces, and it is ready with any configuration.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._reached = False
        self._wanted: str | None = None

    def want(self, revision: str | None) -> None:
        """The revision that the operator asks of this pod; empty while it has not said, None where nobody asks."""
        self._wanted = revision

    def problem(self, *, revision: str, refused: str | None, unheard: int) -> str | None:
        """Why it should not get calls yet, in words; None when it may.

        `revision` is the one in use, `refused` one that was refused after it, `unheard` the number of servers that have
        neither answered nor failed yet.
        """
        if self._reached or self._wanted is None:
            return None
        age = self._clock() - self._started
        behind = self._wanted not in ("", revision, refused)
        if behind and age < CATCH_UP_SECONDS:
            return f"revision {revision} is in use, {self._wanted} is on its way"
        if unheard and age < LISTED_SECONDS:
            return f"{unheard} servers have not answered yet"
        self._reached = True
        return None
