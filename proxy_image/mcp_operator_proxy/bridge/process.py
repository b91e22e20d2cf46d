"""One child process that speaks newline-delimited messages: its pipes, its standard error, its end."""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mcp_operator_proxy.bridge import proc
from mcp_operator_proxy.bridge.framing import CHUNK, LineSplitter, Oversize, read_lines
from mcp_operator_proxy.bridge.stderr import ServerLog
from mcp_operator_proxy.bridge.watched import Watched

log = logging.getLogger(__name__)

_STDERR_LINES: Final = 50
_STDERR_LINE: Final = 4096
_LAST_WORDS: Final = 0.25
"""Seconds for which output is still read after the process ended but a child of it holds the pipe."""
_LAST_BREATH: Final = 2.0
"""Seconds for which the end of a process is awaited after that of its output: a moment, but on a busy machine. How it ended is
what its callers are told."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run. `environment` is the whole of it; `redact` cleans a line of standard error before `log` gets it."""

    command: tuple[str, ...]
    name: str
    environment: Mapping[str, str]
    cwd: str | None
    redact: Callable[[str], str]
    log: ServerLog
    watched: Watched | None
    """Told of the process group while it may have members."""
    max_line: int
    stop_grace: float
    pipes: str | None = None
    """Folder of the pipes to a process that runs in a container of its own; `command` is then not for here."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended, as `subprocess` counts: a negative code is a signal. None: only its container knows."""

    code: int | None
    stderr: tuple[str, ...]

    def __str__(self) -> str:
        if self.code is None:
            return "ended; the log of its container says why"
        how = f"exited with code {self.code}" if self.code >= 0 else f"was killed by {_signal_name(-self.code)}"
        return f"{how}; last standard error: {' | '.join(self.stderr)}" if self.stderr else how


class StartError(Exception):
    """The server could not be started. The text says why and is fit for a client's eyes."""

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ServerProcess:
    """Runs in a session of its own, so that the whole group (`uvx` and `npx` start children) ends with it.

    `on_line` is called for each line of standard output, in order, until `closed`.
    """

    def __init__(self, spec: ProcessSpec, on_line: Callable[[bytes], None], on_garbage: Callable[[str], None]) -> None:
        self._spec = spec
        self._on_line = on_line
        self._on_garbage = on_garbage
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._write_lock = asyncio.Lock()
        self._process: Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self.closed = asyncio.Event()
        """Set when nothing more can come from it. The group may still be ending: `stop` waits for that."""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def started(self) -> bool:
        return self._process is not None

    @property
    def exit(self) -> Exit | None:
        """How it ended; None while it runs."""
        code = self._process.returncode if self._process else None
        return None if code is None else Exit(code, self.last_stderr())

    def last_stderr(self, lines: int = 5) -> tuple[str, ...]:
        """The newest lines, redacted and cut to 300 characters each."""
        return tuple(line[:300] for line in list(self._stderr)[-lines:])

    async def start(self) -> None:
        """Raises StartError."""
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._spec.command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env=dict(self._spec.environment),
                cwd=self._spec.cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise StartError(_why_not_started(self._spec, error)) from error
        if self._spec.watched is not None:
            self._spec.watched.add(self._process.pid)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        stdout = asyncio.create_task(self._pump_stdout(self._process.stdout))
        stderr = asyncio.create_task(self._pump_stderr(self._process.stderr))
        self._watch = asyncio.create_task(self._run(self._process, (stdout, stderr)))

    async def send(self, line: bytes, unless: Callable[[], bool] = lambda: False) -> bool:
        """Write one line, in turn, waiting while the pipe is full; False where `unless` said so when its turn came.

        Raises ConnectionError when the process no longer reads.
        """
        async with self._write_lock:
            if unless():
                return False
            stdin = self._process.stdin if self._process else None
            if stdin is None or self.closed.is_set() or stdin.is_closing():
                raise ConnectionResetError("the server does not run")
            stdin.write(line + b"\n")
            await stdin.drain()
            return True

    async def stop(self) -> None:
        """Close stdin, wait for the server, SIGTERM to what is left of the group, wait, SIGKILL, wait."""
        if self._process is None:
            return
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._end(self._process))
        await asyncio.shield(self._stopping)

    async def _run(self, process: Process, pumps: tuple[asyncio.Task[None], asyncio.Task[None]]) -> None:
        stdout, stderr = pumps
        exited = asyncio.create_task(process.wait())
        await asyncio.wait({stdout, exited}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({exited}, timeout=_LAST_BREATH)
        await asyncio.wait({stdout, stderr}, timeout=_LAST_WORDS)
        if not exited.done():
            log.warning("%s closed its standard output: it is ended", self._spec.name)
        self.closed.set()
        await self.stop()
        await exited
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

    async def _end(self, process: Process) -> None:
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), self._spec.stop_grace)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not _group_alive(process.pid):
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            await self._gone_within(process, self._spec.stop_grace)
        if self._spec.watched is not None:
            self._spec.watched.remove(process.pid)
        await self.closed.wait()

    async def _gone_within(self, process: Process, seconds: float) -> None:
        pause = 0.005
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await process.wait()
                while _group_alive(process.pid):  # nothing tells when a group empties
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 0.1)

    async def _pump_stdout(self, stream: asyncio.StreamReader) -> None:
        await read_lines(stream, self._spec.max_line, self._on_line, self._on_garbage)

    async def _pump_stderr(self, stream: asyncio.StreamReader) -> None:
        splitter = LineSplitter(_STDERR_LINE)
        while chunk := await stream.read(CHUNK):
            self._show(splitter.feed(chunk))
        self._show(splitter.end())

    def _show(self, lines: list[bytes | Oversize]) -> None:
        for line in lines:
            text = self._readable(line)
            self._stderr.append(text)
            self._spec.log.add(self.pid or 0, text)

    def _readable(self, line: bytes | Oversize) -> str:
        if isinstance(line, Oversize):
            return f"(a line of {line.length} bytes)"
        return self._spec.redact(line.decode("utf-8", "replace"))


def _group_alive(group: int) -> bool:
    """Whether a process group has a member that is no zombie."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    members = [entry for entry in proc.entries() if entry.group == group]
    return not members or any(entry.state not in {"Z", "X"} for entry in members)


def _why_not_started(spec: ProcessSpec, error: Exception) -> str:
    command = spec.command[0]
    if spec.cwd is not None and not Path(spec.cwd).is_dir():
        return f"working directory not found: {spec.cwd}"
    if isinstance(error, FileNotFoundError):
        if shutil.which(command, path=spec.environment.get("PATH", os.defpath)) is not None:
            return f"command {command} could not be started: the interpreter that its first line names is not there"
        return f"command not found: {command}"
    if isinstance(error, PermissionError):
        if spec.cwd is not None and not os.access(spec.cwd, os.X_OK):
            return f"working directory may not be entered: {spec.cwd}"
        return f"command is not executable: {command}"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return f"command {command} could not be started: {reason}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
