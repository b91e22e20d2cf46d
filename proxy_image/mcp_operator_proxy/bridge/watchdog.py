"""Ends the processes of this program when it is killed: a SIGKILL leaves no orphan, even of a server that ignores the end of stdin.

    python watchdog.py          # on standard input: "+GROUP" and "-GROUP" lines; its end means that the parent has gone

A program of its own, run by path and without site-packages, so that it costs few milliseconds and little memory. It is in
a session of its own, so that a signal to the parent's group does not reach it.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE_SECONDS = 2.0
_STEP = 0.05


def main(lines: Iterable[str]) -> int:
    """Keep the list of process groups, and end those that are left when the lines end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in lines:
        sign, group = line[0], int(line[1:])
        (groups.add if sign == "+" else groups.discard)(group)
    deadline = time.monotonic() + GRACE_SECONDS
    for number in (signal.SIGTERM, signal.SIGKILL):
        groups = {group for group in groups if _signal(group, number)}
        while groups and number == signal.SIGTERM and time.monotonic() < deadline:
            time.sleep(_STEP)
            groups = {group for group in groups if _signal(group, 0)}
    return 0


def _signal(group: int, number: int) -> bool:
    """Whether there is still somebody in the group who can be sent it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.stdin))
