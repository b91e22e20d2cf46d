"""Every hosted server as a process: made as declared, replaced without a gap, restarted when its probes fail."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import httpx2

from mcp_operator.conditions.reasons import Reason, Type
from mcp_operator.conditions.verdict import Verdict, no, yes
from mcp_operator.desired.restarts import Decision, Restarts, decide
from mcp_operator.engine.keys import Key
from mcp_operator.local.launch import CannotRun, Launch
from mcp_operator.local.process import Standing, Supervised, free_port

HOST: Final = "127.0.0.1"


LINGER_SECONDS: Final = 1.0
"""As a pod's `preStop` pause: a call that the proxy took just before it swapped may not have reached the process yet."""


@dataclass(slots=True)
class _Hosted:
    """`coming` is a newer version that takes over as soon as it is ready."""

    current: Supervised | None = None
    coming: Supervised | None = None
    refused: CannotRun | None = None
    restarts: Restarts = field(default_factory=Restarts)


class Hosting:
    """Level-triggered: `want` says what shall run. `on_change` is called when a process stands otherwise than before.

    A process that is no longer wanted serves on until `release`, which is to be called when no proxy uses it any more.
    """

    def __init__(
        self, http: httpx2.AsyncClient, on_change: Callable[[], None], log_of: Callable[[str], Path | None]
    ) -> None:
        self._http = http
        self._on_change = on_change
        self._log_of = log_of
        self._hosted: dict[Key, _Hosted] = {}
        self._unused: list[Supervised] = []
        self._stopping: dict[Supervised, asyncio.Task[None]] = {}

    def want(self, key: Key, launch: Launch | CannotRun) -> None:
        """Run `launch` under `key`, or nothing, for the reason given."""
        hosted = self._hosted.setdefault(key, _Hosted())
        hosted.refused = launch if isinstance(launch, CannotRun) else None
        if isinstance(launch, CannotRun):
            self._drop(hosted)
            return
        if hosted.coming is not None and hosted.coming.launch != launch:
            self._stop(hosted.coming)
            hosted.coming = None
        if hosted.current is not None and hosted.current.launch == launch:
            if hosted.coming is not None:
                self._stop(hosted.coming)
                hosted.coming = None
            return
        if hosted.coming is None:
            hosted.restarts = Restarts()
            self._replace(key, hosted, launch)

    def retain(self, keys: Collection[Key]) -> None:
        """Forget servers that are no longer declared."""
        for key in self._hosted.keys() - set(keys):
            self._drop(self._hosted.pop(key))

    def release(self, linger: float = LINGER_SECONDS) -> None:
        """End the processes that nobody uses any more, in `linger` seconds."""
        for process in self._unused:
            self._stop(process, linger)
        self._unused.clear()

    def url(self, key: Key) -> str | None:
        """Where the server is reached; None where it does not run."""
        hosted = self._hosted.get(key)
        return hosted.current.url if hosted and hosted.current else None

    def log(self, key: Key) -> Path | None:
        """The file with what it writes; None where that goes to the terminal."""
        return self._log_of(log_name(key))

    def ready(self, key: Key) -> bool:
        """Whether the process in use is ready now."""
        hosted = self._hosted.get(key)
        return bool(hosted and hosted.current and hosted.current.standing.phase == "ready")

    def was_ready(self, key: Key) -> bool:
        """Whether the process in use has been ready once: from then on it is worth probing."""
        hosted = self._hosted.get(key)
        return bool(hosted and hosted.current and hosted.current.was_ready)

    def verdict(self, key: Key) -> Verdict:
        """`Programmed` of the server."""
        hosted = self._hosted.get(key, _Hosted())
        if hosted.refused is not None:
            return no(Type.PROGRAMMED, hosted.refused.reason, str(hosted.refused))
        if hosted.coming is not None:
            return _verdict(hosted.coming.standing, "; the version before still serves")
        return _verdict(hosted.current.standing if hosted.current else Standing())

    def restarts(self, key: Key, *, healthy: bool | None, limit: int, now: datetime) -> Decision:
        """Restart a server whose process is up but which does not answer, as the operator would in a cluster."""
        hosted = self._hosted.get(key)
        if hosted is None or hosted.current is None:
            return Decision(Restarts())
        deployed = hosted.current.standing.phase == "ready"
        decision = decide(hosted.restarts, deployed=deployed, healthy=healthy, limit=limit, now=now)
        if decision.restarts.count > hosted.restarts.count:
            hosted.current.restart()
        hosted.restarts = decision.restarts
        return decision

    async def aclose(self) -> None:
        """End every process in order."""
        self.retain(())
        self.release(linger=0)
        while self._stopping:
            await asyncio.wait(self._stopping.values())

    def kill(self) -> None:
        """End every process now."""
        for hosted in self._hosted.values():
            for process in (hosted.current, hosted.coming):
                if process is not None:
                    process.kill()
        for process in (*self._unused, *self._stopping):
            process.kill()

    def _replace(self, key: Key, hosted: _Hosted, launch: Launch) -> None:
        old = hosted.current
        process = self._process(key, launch)
        if old is None or old.standing.phase != "ready" or launch.port == old.port:
            hosted.current = process
            predecessor = self._stop(old) if old is not None else None
            self._start(process, predecessor)
            return
        hosted.coming = process
        self._start(process, None)

    def _process(self, key: Key, launch: Launch) -> Supervised:
        def changed() -> None:
            self._promote(key, process)
            self._on_change()

        process = Supervised(
            key.name,
            launch,
            launch.port or free_port(HOST),
            log=self.log(key),
            http=self._http,
            on_change=changed,
            host=HOST,
            own_words=launch.ready_path is not None,
        )
        return process

    def _start(self, process: Supervised, predecessor: "asyncio.Task[None] | None") -> None:
        """Start it, but not before the one is gone that has its port."""
        if predecessor is None:
            process.start()
        else:
            predecessor.add_done_callback(lambda _: process.start())

    def _promote(self, key: Key, process: Supervised) -> None:
        hosted = self._hosted.get(key)
        if hosted is None or hosted.coming is not process or process.standing.phase != "ready":
            return
        if hosted.current is not None:
            self._unused.append(hosted.current)
        hosted.current, hosted.coming = process, None

    def _drop(self, hosted: _Hosted) -> None:
        if hosted.current is not None:
            self._unused.append(hosted.current)
        if hosted.coming is not None:
            self._stop(hosted.coming)
        hosted.current = hosted.coming = None

    def _stop(self, process: Supervised, linger: float = 0) -> asyncio.Task[None]:
        if process not in self._stopping:
            task = self._stopping[process] = asyncio.get_running_loop().create_task(_end(process, linger))
            task.add_done_callback(lambda _: self._stopping.pop(process, None))
        return self._stopping[process]


def log_name(key: Key) -> str:
    """Of the file with what a server writes."""
    return f"{key.namespace}.{key.name}.log"


async def _end(process: Supervised, linger: float) -> None:
    await asyncio.sleep(linger)
    await process.stop()


def _verdict(standing: Standing, more: str = "") -> Verdict:
    match standing.phase:
        case "ready":
            return yes(Type.PROGRAMMED, Reason.DEPLOYED, standing.message)
        case "failing":
            return no(Type.PROGRAMMED, Reason.CRASHING, standing.message + more)
        case _:
            return no(Type.PROGRAMMED, Reason.DEPLOYING, standing.message + more)
