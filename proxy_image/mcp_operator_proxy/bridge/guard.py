"""The parent of the bridge: what PID 1 of a container has to do, and no orphan when the bridge itself is killed.

`run` forks. The child is the bridge. The parent is a child subreaper (prctl(2)), so whatever loses its parent below
it becomes its own: it reaps that, forwards signals, and when the bridge ends, however that was, kills what is left.
When the parent is killed, the kernel sends the bridge a SIGTERM and it stops in order.
"""

import contextlib
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Final

from mcp_operator_proxy.bridge import proc

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36
_FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run(work: Callable[[], int]) -> int:
    """Do `work` in a guarded child; returns its exit code (128 + N where signal N killed it).

    To be called before any thread is started. Where prctl(2) is missing, `work` runs unguarded.
    """
    if not sys.platform.startswith("linux"):
        return work()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    watched = (*_FORWARDED, signal.SIGCHLD)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        _prctl(_PR_SET_CHILD_SUBREAPER, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os._exit(_guarded(work) if os.getppid() == parent else 1)
    try:
        status = _watch(child, watched)
    finally:
        _kill_orphans()
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def hide_environment() -> None:
    """Let processes of the same user not read this one's environment in /proc, nor its children's before they exec (proc(5))."""
    if sys.platform.startswith("linux"):
        _prctl(_PR_SET_DUMPABLE, 0)


def _guarded(work: Callable[[], int]) -> int:
    try:
        return work()
    except BaseException:  # noqa: BLE001 - the end of a process: shown, and turned into its exit code
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _watch(child: int, signals: tuple[signal.Signals, ...]) -> int:
    """Forward signals and reap until the child has ended; returns its wait status."""
    while True:
        received = signal.sigwait(signals)
        if received != signal.SIGCHLD:
            os.kill(child, received)
            continue
        for pid, status in _ended():
            if pid == child:
                return status


def _ended() -> Iterator[tuple[int, int]]:
    """Reap every child that has ended."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
            yield ended


def _kill_orphans() -> None:
    """Kill and reap until no child is left; killing one may bring us its children."""
    while children := _children():
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    me = os.getpid()
    return [entry.pid for entry in proc.entries() if entry.parent == me]


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
