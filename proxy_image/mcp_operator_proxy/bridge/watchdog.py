"""Ends the processes of this program when it is killed: a SIGKILL leaves no orphan, even of a server that ignores the end of stdin.

    python watchdog.py

On standard input come lines: "+GROUP" and "-GROUP" for the process groups that there are, "+/FOLDER" and "-/FOLDER" for the
folders of sockets. The end of it means that the parent has gone.

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
    """Keep the list, and when the lines end, end and remove what is left on it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    told: set[str] = set()
    for line in lines:
        (told.add if line[0] == "+" else told.discard)(line[1:].rstrip("\n"))
    folders = {item for item in told if item.startswith("/")}
    _end({int(item) for item in told - folders})
    for folder in folders:
        _remove(folder)
    return 0


def _end(groups: set[int]) -> None:
    deadline = time.monotonic() + GRACE_SECONDS
    for number in (signal.SIGTERM, signal.SIGKILL):
        groups = {group for group in groups if _signal(group, number)}
        while groups and number == signal.SIGTERM and time.monotonic() < deadline:
            time.sleep(_STEP)
            groups = {group for group in groups if _signal(group, 0)}


def _remove(folder: str) -> None:
    """A folder with a socket, and with what processes have written into folders of their own."""
    import shutil  # noqa: PLC0415 - not needed before the end

    shutil.rmtree(folder, ignore_errors=True)


def _signal(group: int, number: int) -> bool:
    """Whether there is still somebody in the group who can be sent it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.stdin))
