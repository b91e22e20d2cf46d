"""The side of `watchdog` that lives in the proxy: tells it which process groups and folders there are."""

import asyncio
import contextlib
import logging
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from typing import Final
from weakref import WeakKeyDictionary

from mcp_operator_proxy.bridge import watchdog
from mcp_operator_proxy.tasks import cancel

log = logging.getLogger(__name__)

_AGAIN_SECONDS: Final = 1.0


class Watched:
    """The process groups and sockets of one event loop, known to one watchdog, which runs from the first `join` to the last `leave`."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._users = 0
        self._process: Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the watchdog."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    def join(self) -> None:
        """Have the watchdog run. Where it can't be started, this is logged, and all else works without it."""
        self._users += 1
        if self._keeping is None:
            self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def leave(self) -> None:
        """The last one who leaves ends it."""
        self._users -= 1
        if self._users or self._keeping is None:
            return
        keeping, self._keeping = self._keeping, None
        await cancel([keeping])

    def add(self, thing: int | str) -> None:
        """A process group, or the absolute path of a folder that holds only a socket."""
        self._told.add(str(thing))
        self._tell(f"+{thing}\n")

    def remove(self, thing: int | str) -> None:
        """It is no more, or the caller sees to its end."""
        self._told.discard(str(thing))
        self._tell(f"-{thing}\n")

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(line.encode())

    async def _keep(self) -> None:
        while True:
            try:
                await self._run_once()
            except OSError as error:
                log.warning(
                    "no watchdog: a SIGKILL of this process may leave stdio servers behind (%s)", error.strerror
                )
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _run_once(self) -> None:
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", watchdog.__file__),
            stdin=PIPE,
            stdout=DEVNULL,
            env={},
            start_new_session=True,
        )
        try:
            for thing in self._told:
                self._tell(f"+{thing}\n")
            await process.wait()
        finally:
            self._process = None
            assert process.stdin is not None
            for thing in self._told if process.returncode is None else ():
                process.stdin.write(f"-{thing}\n".encode())
            process.stdin.close()
            with contextlib.suppress(OSError):
                await process.wait()


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Watched] = WeakKeyDictionary()


def watched() -> Watched:
    """That of the running loop."""
    return _by_loop.setdefault(asyncio.get_running_loop(), Watched())
