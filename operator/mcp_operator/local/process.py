"""One program kept running on its port: started, asked whether it is ready, started again when it ends, stopped with all its own."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

import httpx2

from mcp_operator.engine.backoff import Backoff
from mcp_operator.local import tether
from mcp_operator.local.launch import Launch
from mcp_operator_proxy.bridge import proc

Phase = Literal["starting", "ready", "failing", "stopped"]
BACKOFF: Final = Backoff(base=0.5, cap=30.0)
STEADY_SECONDS: Final = 10.0
"""A program that was ready for so long starts anew without a growing pause."""
STOP_SECONDS: Final = 12.0
"""From SIGTERM to SIGKILL; a bridge needs up to 9 s for the calls in flight and its server."""
MAX_LOG_BYTES: Final = 8 * 2**20
_POLL_STARTING: Final = 0.1
_POLL_READY: Final = 1.0
_ASK_SECONDS: Final = 2.0
_SWEEPS: Final = 20
_QUIET_PORTS: Final = range(15_000, 30_000)
"""Below those that a system gives to programs that name none (`ip_local_port_range`, from 32768) and those of node ports: what is
free here stays so while a program starts, and while it is started again."""
_DRAWS: Final = 50


@dataclass(frozen=True, slots=True)
class Standing:
    """How a program stands. `message` says it in words, without any secret."""

    phase: Phase = "starting"
    message: str = "it is being started"


class Supervised:
    """A `Launch` on a port. `on_change` is called after `standing` has changed; `start` it in a running loop, `stop` it in the end.

    Its output goes to the file `log`, or to this program's standard error where that is None. `own_words`: it is a program
    of the project's, which keeps secrets out of what it says, so that its last line may be shown.
    """

    def __init__(
        self,
        name: str,
        launch: Launch,
        port: int,
        *,
        log: Path | None,
        http: httpx2.AsyncClient,
        on_change: Callable[[], None],
        host: str = "127.0.0.1",
        own_words: bool = False,
    ) -> None:
        self.name = name
        self.launch = launch
        self.port = port
        self.host = host
        self.standing = Standing()
        self.was_ready = False
        self._log = log
        self._own_words = own_words
        self._http = http
        self._on_change = on_change
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._again = False

    @property
    def base_url(self) -> str:
        return base_url(self.host, self.port)

    @property
    def url(self) -> str:
        """Its MCP endpoint."""
        return self.base_url + self.launch.path

    @property
    def pid(self) -> int | None:
        """Of the process at the top of its own; None while it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    def start(self) -> None:
        """Nothing happens where it has been stopped already."""
        if self._stopping.is_set():
            return
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"process {self.name}")

    def restart(self) -> None:
        """End it in order and start it again on the same port."""
        if self._process is not None:
            self._again = True
            self._signal(signal.SIGTERM)

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End it and all that it started: in order, and after `seconds` by force."""
        self._stopping.set()
        if self._task is None:
            return
        self._signal(signal.SIGTERM)
        await asyncio.wait([self._task], timeout=seconds)
        if not self._task.done():
            self.kill()
            await asyncio.wait([self._task])

    def kill(self) -> None:
        """End it and all that it started, now."""
        self._stopping.set()
        if self.pid is not None:
            kill_tree(self.pid)

    async def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._again = False
            began = time.monotonic()
            why = await self._run_once()
            if self._stopping.is_set():
                break
            if self._again:
                continue
            if self.standing.phase == "ready" and time.monotonic() - began > STEADY_SECONDS:
                failures = 0
            delay = BACKOFF.delay(failures)
            failures += 1
            self._stand("failing", f"{why}; next start in {delay:.0f} s" if delay >= 1 else why)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
        self._stand("stopped", "it is stopped")

    async def _run_once(self) -> str:
        """One life of the program; how it ended."""
        if not is_free(self.host, self.port):
            return f"port {self.port} of {self.host} is in use by another program"
        if self.standing.phase != "failing":
            self._stand("starting", "it is being started")
        try:
            with self._output() as output:
                self._process = process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-S", tether.__file__, str(os.getpid())),
                    *self.launch.command(self.port),
                    stdin=DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=dict(self.launch.environment),
                    start_new_session=True,
                )
        except (OSError, ValueError) as error:
            return f"it can't be started: {error.strerror if isinstance(error, OSError) else error}"
        if self._stopping.is_set():
            self._signal(signal.SIGTERM)
        asking = asyncio.create_task(self._ask())
        try:
            code = await process.wait()
        finally:
            asking.cancel()
            await asyncio.wait([asking])
        return self._how_ended(code)

    def _output(self) -> BinaryIO:
        if self._log is None:
            return open(os.dup(2), "ab", buffering=0)  # noqa: PTH123 - a descriptor
        if self._log.exists() and self._log.stat().st_size > MAX_LOG_BYTES:
            self._log.unlink()
        return open(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0)  # noqa: PTH123

    def _how_ended(self, code: int) -> str:
        how = f"it exited with code {code}" if code >= 0 else f"it was killed by signal {-code}"
        if self._log is None:
            return how
        if self._own_words and (line := last_line(self._log)):
            return f"{how}: {line}"
        return f"{how}; see {self._log}"

    # Readiness

    async def _ask(self) -> None:
        """Keep `standing` true while the process runs."""
        while True:
            found = await self._look()
            self._stand(found.phase, found.message)
            await asyncio.sleep(_POLL_READY if found.phase == "ready" else _POLL_STARTING)

    async def _look(self) -> Standing:
        if self.launch.ready_path is None:
            return await self._knock()
        try:
            answer = await self._http.get(self.base_url + self.launch.ready_path, timeout=_ASK_SECONDS)
        except httpx2.TimeoutException:
            return self._patient()
        except httpx2.HTTPError:
            return self.standing if self.standing.phase == "failing" else Standing()
        if answer.status_code == httpx2.codes.OK:
            return self._ready()
        return _told(answer)

    async def _knock(self) -> Standing:
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                _, writer = await asyncio.open_connection(self.host, self.port)
        except TimeoutError:
            return self._patient()
        except OSError:
            return Standing("starting", f"nothing listens on port {self.port} yet")
        writer.close()
        return self._ready()

    def _patient(self) -> Standing:
        """One that was ready and is slow to say so again: it lives, and whether it serves is what probes find out."""
        return self.standing if self.standing.phase in {"failing", "ready"} else Standing()

    def _ready(self) -> Standing:
        return Standing("ready", f"process {self.pid} serves {self.url}")

    def _stand(self, phase: Phase, message: str) -> None:
        if self.standing != (new := Standing(phase, message)):
            self.standing = new
            self.was_ready = self.was_ready or phase == "ready"
            self._on_change()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def _told(answer: httpx2.Response) -> Standing:
    """What a bridge says of its server while that is not ready."""
    try:
        body = answer.json()
        state, error = body.get("state"), body.get("lastError")
    except (ValueError, AttributeError):
        return Standing()
    if state in {"backoff", "crash-loop"}:
        return Standing("failing", str(error or "the server ended"))
    return Standing("starting", f"the server is starting; before that, {error}" if error else "the server is starting")


def base_url(host: str, port: int) -> str:
    """Where a program that listens on `host` is reached from this machine."""
    reached = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def is_free(host: str, port: int) -> bool:
    """Whether somebody could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free now, and one that the system gives to nobody who does not ask for it, where there is one."""
    for _ in range(_DRAWS):
        if is_free(host, port := secrets.choice(_QUIET_PORTS)):
            return port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def last_line(log: Path, most: int = 300) -> str:
    """The last line of a log that says something."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16384))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:most] for line in reversed(lines) if line.strip()), "")


def kill_tree(root: int) -> None:
    """SIGKILL everything below a process, top down, until nothing is left there, and then itself.

    What a guard at the top adopts while that goes on stays below it, so nothing escapes.
    """
    for _ in range(_SWEEPS):
        below = _below(root)
        for pid in below:
            _kill(pid)
        if not below:
            break
    _kill(root)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _below(root: int) -> list[int]:
    """Descendants that are no zombies, those nearer to `root` first."""
    alive = {entry.pid: entry.parent for entry in proc.entries() if entry.state not in {"Z", "X"}}
    found = [root]
    for pid in found:
        found += [child for child, parent in alive.items() if parent == pid]
    return found[1:]
