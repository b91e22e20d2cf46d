"""A parent that keeps worker processes running. It knows nothing of MCP.

Workers are forked, so what the parent has imported is shared, and a new one is there in milliseconds. Each holds the
reading end of a pipe whose writing end only the parent has: its end tells a worker that the parent is gone.
"""

import contextlib
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

logger = logging.getLogger(__name__)
FIRST_PAUSE: Final = 0.1
MAX_PAUSE: Final = 10.0
STEADY_SECONDS: Final = 30.0
"""A worker that ran for so long is started again at once."""
KILL_AFTER_SECONDS: Final = 30.0
"""After the first SIGTERM; what still runs then is killed."""

Work = Callable[[int, int], int]
"""Called in a worker with its index and the pipe's reading end; returns the exit code."""


@dataclass
class _Slot:
    """One worker's place."""

    index: int
    pid: int | None = None
    started: float = 0.0
    pause: float = 0.0
    due: float = 0.0
    """When to start it, on the monotonic clock."""
    starts: int = 0


class Supervisor:
    """`run` returns when all workers have ended after a SIGTERM or SIGINT: 0 where all of them ended well."""

    def __init__(self, count: int, work: Work, *, kill_after: float = KILL_AFTER_SECONDS) -> None:
        self._slots = [_Slot(index) for index in range(count)]
        self._work = work
        self._kill_after = kill_after
        self._deadline: float | None = None
        self._failed = False
        self._alive_read, self._alive_write = os.pipe()

    def again(self, index: int) -> bool:
        """Whether the worker of this index was started before; for the worker itself."""
        return self._slots[index].starts > 1

    def run(self) -> int:
        try:
            with _signals() as wake:
                while self._deadline is None or any(slot.pid for slot in self._slots):
                    self._start_due()
                    for sig in _wait(wake, self._seconds()):
                        if sig in (signal.SIGTERM, signal.SIGINT):
                            self._stop(sig)
                    self._reap()
                    self._kill_late()
        finally:
            for slot in self._slots:  # only after an error of the parent's own
                if slot.pid is not None:
                    os.kill(slot.pid, signal.SIGKILL)
                    os.waitpid(slot.pid, 0)
            os.close(self._alive_read)
            os.close(self._alive_write)
        return 1 if self._failed else 0

    def _start_due(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.pid is None and self._deadline is None and slot.due <= now:
                slot.started = now
                slot.starts += 1
                slot.pid = self._fork(slot.index)

    def _fork(self, index: int) -> int:
        pid = os.fork()
        if not pid:
            self._become_worker(index)
        return pid

    def _become_worker(self, index: int) -> NoReturn:
        code = 70
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            # A terminal sends it to all; workers end when the parent says so.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(self._alive_write)
            code = self._work(index, self._alive_read)
        except BaseException:
            logger.exception("a worker failed")
        finally:
            logging.shutdown()
            os._exit(code)

    def _seconds(self) -> float | None:
        """Until something is to be done without a signal."""
        now = time.monotonic()
        if self._deadline is not None:
            return max(self._deadline - now, 0.0)
        due = [slot.due - now for slot in self._slots if slot.pid is None]
        return max(min(due), 0.0) if due else None

    def _stop(self, sig: signal.Signals) -> None:
        if self._deadline is None:
            logger.info("stopping the workers", extra={"signal": sig.name})
            self._deadline = time.monotonic() + self._kill_after
        for slot in self._slots:
            if slot.pid is not None:
                os.kill(slot.pid, signal.SIGTERM)

    def _kill_late(self) -> None:
        if self._deadline is None or time.monotonic() < self._deadline:
            return
        for slot in self._slots:
            if slot.pid is not None:
                os.kill(slot.pid, signal.SIGKILL)
        self._deadline += 1.0

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.pid is None:
                continue
            pid, status = os.waitpid(slot.pid, os.WNOHANG)
            if pid:
                slot.pid = None
                self._ended(slot, os.waitstatus_to_exitcode(status))

    def _ended(self, slot: _Slot, code: int) -> None:
        if self._deadline is not None:
            # One that had not even begun dies of the signal itself.
            self._failed = self._failed or code not in (0, -signal.SIGTERM)
            return
        now = time.monotonic()
        steady = now - slot.started >= STEADY_SECONDS
        slot.pause = 0.0 if steady else min(max(slot.pause * 2, FIRST_PAUSE), MAX_PAUSE)
        slot.due = now + slot.pause
        logger.error(
            "a worker ended and is started again", extra={"worker": slot.index, "code": code, "in": slot.pause}
        )


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that gets a byte for each signal."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    watched = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    before = {sig: signal.signal(sig, lambda *_: None) for sig in watched}
    wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(wakeup)
        for sig, handler in before.items():
            signal.signal(sig, handler)
        reading.close()
        writing.close()


def _wait(wake: socket.socket, seconds: float | None) -> list[signal.Signals]:
    ready, _, _ = select.select([wake], [], [], seconds)
    return [signal.Signals(number) for number in wake.recv(4096)] if ready else []
