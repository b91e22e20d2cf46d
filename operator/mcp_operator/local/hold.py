"""Run a program and end it, and all that it started, in order: what a container does for a server that is its own command.

    python -m mcp_operator.local.hold -- COMMAND [ARGUMENT ...]

On SIGTERM the program's process group gets SIGTERM, and SIGKILL after `GRACE_SECONDS`; what has left the group is killed
by the guard above. Exits as the program did, with 128 + N where signal N killed it, 127 where it can't be found.
"""

import contextlib
import os
import signal
import subprocess
import sys
from types import FrameType
from typing import Final

from mcp_operator_proxy.bridge import guard

GRACE_SECONDS: Final = 5


def main(arguments: list[str]) -> int:
    command = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
    if not command:
        print("hold: the command is missing: give it after --", file=sys.stderr)
        return 2
    return guard.run(lambda: hold(command))


def hold(command: list[str]) -> int:
    """Run `command` in a session of its own until it ends."""
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        print(f"{command[0]} can't be started: {reason}", file=sys.stderr)
        return 127

    def to_group(number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)

    def end(_number: int, _frame: FrameType | None) -> None:
        to_group(signal.SIGTERM)
        signal.alarm(GRACE_SECONDS)

    def kill(_number: int, _frame: FrameType | None) -> None:
        to_group(signal.SIGKILL)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    signal.signal(signal.SIGALRM, kill)
    code = process.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
