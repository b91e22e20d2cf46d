"""Runs a command inside the node's namespaces, as if it had been started here (setns(2))."""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from localcluster.errors import ClusterError

NAMESPACES = {"net": 0x40000000, "uts": 0x04000000, "pid": 0x20000000, "mnt": 0x00020000}
PR_SET_PDEATHSIG = 1
SI_USER = 0
FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

_libc = ctypes.CDLL(None, use_errno=True)


def run(target: int, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> int:
    """Run `command` in the namespaces of the process `target`, in `folder`; returns its exit status.

    Signals sent to this process reach the command; those a terminal sends to the whole foreground group are not sent
    twice. A command that is killed by a signal gives the negative number of the signal. If this process is
    killed, the command is killed too.
    """
    blocked = {*FORWARDED, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        descriptors = {name: os.open(f"/proc/{target}/ns/{name}", os.O_RDONLY) for name in NAMESPACES}
        own = os.open("/proc/self/ns/pid", os.O_RDONLY)
        _setns(descriptors["pid"], NAMESPACES["pid"])
        child = os.fork()
        if child == 0:
            _become(command, environment, folder, descriptors, before)
        _setns(own, NAMESPACES["pid"])
        for descriptor in (own, *descriptors.values()):
            os.close(descriptor)
        return _attend(child, blocked)
    except OSError as error:
        raise ClusterError(f"cannot enter the cluster's namespaces: {error}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _become(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    descriptors: Mapping[str, int],
    mask: set[int | signal.Signals],
) -> None:
    """In the child: never returns."""
    try:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        for name in ("net", "uts", "mnt"):
            _setns(descriptors[name], NAMESPACES[name])
        os.chdir(folder)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.execvpe(command[0], list(command), dict(environment))
    except FileNotFoundError:
        print(f"{command[0]}: command not found", file=sys.stderr)
        os._exit(127)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(126)


def _attend(child: int, blocked: set[signal.Signals]) -> int:
    while True:
        received = signal.sigwaitinfo(blocked)
        if received.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended == child:
                return os.waitstatus_to_exitcode(status)
        elif received.si_code <= SI_USER:
            os.kill(child, received.si_signo)


def _setns(descriptor: int, kind: int) -> None:
    if _libc.setns(descriptor, kind) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
