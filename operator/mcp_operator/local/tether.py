"""Run a program that gets SIGTERM when its parent ends, however that was: no orphan is left by a SIGKILL of local mode.

    python tether.py PARENT_PID COMMAND [ARGUMENT ...]

A program of its own, run by path and without site-packages, so that it costs a few milliseconds. The wish survives the
exec that follows (prctl(2), PR_SET_PDEATHSIG). Where prctl is missing, the program simply runs.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: "list[str]") -> int:
    parent, *command = arguments
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != int(parent):
            return 1
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
