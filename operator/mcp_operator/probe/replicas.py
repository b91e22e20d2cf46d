"""Keeps asking the replicas of proxies which revision they run: at once while they should change, rarely after that."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, Self, TypeVar

from mcp_operator.engine.backoff import Backoff
from mcp_operator.probe.replica import ReplicaState, expecting, heard, silent
from mcp_operator.probe.status import Told, ask_status, status_client
from mcp_operator_proxy.report import ErrorReport, ServerReport, StatusReport
from mcp_operator_proxy.tasks import spawn

log = logging.getLogger(__name__)
K = TypeVar("K", bound=Hashable)
States = Mapping[str, ReplicaState]
_JITTER: Final = 0.1


class Ask(Protocol):
    """`ask_status`, bound to a client."""

    async def __call__(
        self,
        url: str,
        *,
        wait: str | None,
        timeout: float,  # noqa: ASYNC109
        told: Told,
    ) -> StatusReport | ErrorReport: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often and how long replicas are asked, in seconds."""

    hold: float = 20.0
    """How long a replica may hold its answer while it does not run the revision."""
    interval: float = 30.0
    """Between two questions to a replica that runs the revision or has refused it."""
    timeout: float = 5.0
    """Of a question whose answer is not to be held."""
    retry: Backoff = field(default_factory=lambda: Backoff(base=0.2, cap=5.0))
    """After a question that failed, and while a replica is not steady and does not hold its answer."""
    misses: int = 3
    """Failures in a row after which a replica counts as unreachable."""


class ReplicaWatch(Generic[K]):
    """The replicas of one proxy. `on_change(key, states)` is called when something other than a time has changed.

    What `want` changes itself is not announced. Must be closed.
    """

    def __init__(
        self,
        key: K,
        on_change: Callable[[K, States], None],
        *,
        ask: Ask = ask_status,
        pace: Pace | None = None,
        room: asyncio.Semaphore | None = None,
    ) -> None:
        self._key = key
        self._on_change = on_change
        self._ask = ask
        self._pace = pace or Pace()
        self._room = room or asyncio.Semaphore(64)
        self._revision: str | None = None
        self._replicas: dict[str, _Replica] = {}
        self._reports: dict[str, list[ServerReport]] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def states(self) -> dict[str, ReplicaState]:
        """By pod; those that have not answered yet are `unknown`."""
        return {pod: replica.state for pod, replica in self._replicas.items()}

    def reports(self, server: str) -> list[ServerReport]:
        """What the replicas that run their revision say of a server, by its id."""
        if self._reports is None:
            self._reports = {}
            for state in self.states.values():
                for report in state.servers if state.state == "running" else ():
                    self._reports.setdefault(report.id, []).append(report)
        return self._reports.get(server, [])

    def want(self, revision: str | None, pods: Mapping[str, str]) -> None:
        """From now on, `pods` (name to base URL) should run `revision`. Calling it again with the same changes nothing.

        A new revision interrupts the questions for the old one.
        """
        if revision != self._revision or pods != {pod: replica.url for pod, replica in self._replicas.items()}:
            self._reports = None
        for gone in [pod for pod, replica in self._replicas.items() if pods.get(pod) != replica.url]:
            self._replicas.pop(gone).stop()
        renewed, self._revision = revision != self._revision, revision
        for pod, url in pods.items():
            replica = self._replicas.get(pod)
            if replica is not None and not renewed:
                continue
            if replica is not None:
                replica.stop()
            self._replicas[pod] = self._start(pod, url, expecting(replica.state if replica else None, revision))

    async def aclose(self) -> None:
        """Stop asking, and wait until that has ended."""
        self.want(None, {})
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _start(self, pod: str, url: str, state: ReplicaState) -> "_Replica":
        replica = _Replica(url, state)
        replica.task = asyncio.get_running_loop().create_task(self._follow(pod, replica), name=f"replica {pod}")
        self._tasks.add(replica.task)
        replica.task.add_done_callback(self._ended)
        return replica

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the watch of a replica of %s ended", self._key, exc_info=error)

    async def _follow(self, pod: str, replica: "_Replica") -> None:
        pace, failures, early = self._pace, 0, 0
        while True:
            at_once = replica.state.settled or replica.state.state in {"unknown", "unreachable"}
            wait = None if at_once else replica.state.asked
            began = time.monotonic()
            async with self._room:
                seconds = pace.timeout if wait is None else pace.hold
                answer = await self._ask(replica.url, wait=wait, timeout=seconds, told=replica.told)
            if self._replicas.get(pod) is not replica:
                return
            if isinstance(answer, ErrorReport):
                failures += 1
                if failures >= pace.misses:
                    self._learn(replica, silent(replica.state, answer))
                await asyncio.sleep(pace.retry.delay(failures - 1))
                continue
            failures = 0
            again, replica.last = answer is replica.last, answer
            if again and replica.state.steady:
                await self._rest()
                continue
            if self._learn(replica, heard(replica.state, answer, time.monotonic() - replica.since)):
                early = 0
            if replica.state.steady:
                await self._rest()
            elif replica.state.settled or (wait is not None and time.monotonic() - began < pace.hold / 2):
                early += 1
                await asyncio.sleep(min(pace.retry.delay(early - 1), pace.interval))

    async def _rest(self) -> None:
        await asyncio.sleep(self._pace.interval * (1 + _JITTER * random.uniform(-1, 1)))  # noqa: S311

    def _learn(self, replica: "_Replica", state: ReplicaState) -> bool:
        changed, replica.state = state != replica.state, state
        if changed:
            self._reports = None
            try:
                self._on_change(self._key, self.states)
            except Exception:
                log.exception("telling of the replicas of %s failed", self._key)
        return changed


class _Replica:
    def __init__(self, url: str, state: ReplicaState) -> None:
        self.url = url
        self.state = state
        self.told = Told()
        self.last: StatusReport | None = None
        self.since = time.monotonic()
        self.task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()


class Replicas(Generic[K]):
    """The replica watches of all proxies, over one HTTP client. Use as `async with`: leaving it ends them all."""

    def __init__(
        self, on_change: Callable[[K, States], None], *, concurrency: int = 256, pace: Pace | None = None
    ) -> None:
        """`concurrency` bounds the questions under way, those included whose answers are being held."""
        self._on_change = on_change
        self._pace = pace
        self._room = asyncio.Semaphore(concurrency)
        self._client = status_client()
        self._watches: dict[K, ReplicaWatch[K]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def watch(self, key: K, revision: str | None, pods: Mapping[str, str]) -> None:
        """See `ReplicaWatch.want`."""
        if key not in self._watches:
            self._watches[key] = ReplicaWatch(key, self._on_change, ask=self._ask, pace=self._pace, room=self._room)
        self._watches[key].want(revision, pods)

    def forget(self, key: K) -> None:
        """Stop asking the proxy's replicas. Unknown keys are ignored."""
        if (watch := self._watches.pop(key, None)) is not None:
            spawn(watch.aclose(), self._closing)

    def states(self, key: K) -> dict[str, ReplicaState]:
        """By pod; empty for an unknown key."""
        watch = self._watches.get(key)
        return watch.states if watch is not None else {}

    def reports(self, key: K, server: str) -> list[ServerReport]:
        """What a proxy's replicas that run their revision say of a server, by its id."""
        watch = self._watches.get(key)
        return watch.reports(server) if watch is not None else []

    async def aclose(self) -> None:
        """End every watch and close the client."""
        for key in [*self._watches]:
            self.forget(key)
        while self._closing:
            await asyncio.wait(self._closing)
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _ask(
        self,
        url: str,
        *,
        wait: str | None,
        timeout: float,  # noqa: ASYNC109
        told: Told,
    ) -> StatusReport | ErrorReport:
        return await ask_status(url, wait=wait, timeout=timeout, client=self._client, told=told)
