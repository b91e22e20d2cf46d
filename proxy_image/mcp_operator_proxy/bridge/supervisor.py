"""Keeps one server running: starts it, starts it again when it ends, and tells who waits for it how things stand."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mcp_operator_proxy.bridge.backoff import Backoff
from mcp_operator_proxy.bridge.connection import Connection
from mcp_operator_proxy.bridge.process import StartError
from mcp_operator_proxy.tasks import cancel, spawn

log = logging.getLogger(__name__)


class State(Enum):
    IDLE = "idle"
    """Not needed now: it is started by the next call."""
    STARTING = "starting"
    READY = "ready"
    ENDING = "ending"
    BACKOFF = "backoff"
    CRASH_LOOP = "crash-loop"
    STOPPED = "stopped"


class End(Enum):
    """Why a process ended."""

    FAILED = "failed"
    IDLE = "idle"
    HUNG = "hung"
    REPLACED = "replaced"
    RESTART = "restart"
    STOP = "stop"


class Unavailable(Exception):
    """The server does not run, and a request did not reach it. The text is fit for a client's eyes."""

    def __init__(self, message: str, *, state: State, exit_code: int | None, retry_after: float) -> None:
        super().__init__(message)
        self.state = state
        self.exit_code = exit_code
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Care:
    """How a running process is looked after. Times in seconds; 0: not at all."""

    lazy: bool = False
    """Start it when it is first needed, and not again before it is needed again."""
    idle: float = 0.0
    """Without a call for so long it is ended (a lazy one alone)."""
    ping: float = 0.0
    """It is pinged so often, and replaced when it does not answer within the same time."""


class Supervisor:
    """`start` gives a connection that is ready for use, or raises StartError; `on_restart` counts."""

    def __init__(
        self,
        name: str,
        start: Callable[[], Awaitable[Connection]],
        backoff: Backoff,
        on_restart: Callable[[], None],
        care: Care | None = None,
    ) -> None:
        self._on_restart = on_restart
        self._name = name
        self._start = start
        self._backoff = backoff
        self._care = care or Care()
        self._changed = asyncio.Condition()
        self._stop = asyncio.Event()
        self._restart = asyncio.Event()
        self._replace = asyncio.Event()
        self._retiring: set[asyncio.Task[None]] = set()
        self._wanted = asyncio.Event()
        self._rest = asyncio.Event()
        self._connection: Connection | None = None
        self._retry_at = 0.0
        self.state = State.IDLE if self._care.lazy else State.STARTING
        self.since = time.monotonic()
        self.restarts = 0
        self.exit_code: int | None = None
        self.last_error: str | None = None

    @property
    def connection(self) -> Connection | None:
        """The connection in use; None unless ready."""
        connection = self._connection
        return connection if connection is not None and connection.alive else None

    @property
    def resting(self) -> bool:
        """No process, and none to come before it is needed."""
        return self._care.lazy and self.state is State.IDLE and not self._wanted.is_set() and not self._retiring

    @property
    def unneeded(self) -> bool:
        """Resting, or about to."""
        return self._care.lazy and self.state in {State.IDLE, State.ENDING} and not self._wanted.is_set()

    async def left(self, state: State) -> None:
        """Wait until it is in another state than this."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.state is not state)

    async def ready(self, seconds: float) -> Connection:
        """The connection, waiting at most so long. Raises Unavailable, at once where waiting is in vain."""
        deadline = time.monotonic() + seconds
        while (connection := self.connection) is None:
            left = deadline - time.monotonic()
            if self.state is State.STOPPED or left <= 0 or self._retry_at > deadline:
                raise self._unavailable()
            self._wanted.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left), self._changed:
                    await self._changed.wait()
        return connection

    async def run(self) -> None:
        """Until `stop`; then the server has ended."""
        while not self._stop.is_set():
            if self._care.lazy and not self._wanted.is_set():
                await self._set(State.IDLE)
                await self._first(self._wanted, self._stop)
                continue
            self._restart.clear()
            self._replace.clear()
            # It goes on to be called a crash loop until it is ready.
            await self._set(State.CRASH_LOOP if self._backoff.crash_loop else State.STARTING)
            end, ran = await self._run_once()
            if end in {End.FAILED, End.HUNG} and not self._stop.is_set():
                await self._hold(self._backoff.next(ran))
        await asyncio.gather(*self._retiring)
        await self._set(State.STOPPED)

    async def _hold(self, delay: float) -> None:
        """Wait before the next start. Who waits for the server meanwhile says so again."""
        self._wanted.clear()
        self._retry_at = time.monotonic() + delay
        self.restarts += 1
        self._on_restart()
        await self._set(State.CRASH_LOOP if self._backoff.crash_loop else State.BACKOFF)
        log.warning("%s: %s; next start in %.1f s", self._name, self.last_error, delay)
        await self._first(self._stop, self._restart, self._replace, seconds=delay)

    def stop(self) -> None:
        """Let `run` end the server and return."""
        self._stop.set()

    def restart(self) -> None:
        """End the process, if there is one, and start it at once, whatever had failed before."""
        self._backoff.reset()
        self._retry_at = 0.0
        self._wanted.set()
        self._restart.set()

    def replace(self) -> None:
        """From now on another process is used, whatever had failed before. Calls in flight end on the one that there is, and it
        after them."""
        self._backoff.reset()
        self._retry_at = 0.0
        self._connection = None
        self._replace.set()

    def rest(self) -> None:
        """End a lazy process that is not needed, as if it had been idle for long."""
        self._rest.set()

    async def _run_once(self) -> tuple[End, float]:
        """One life of the server; why it ended and how long it was ready."""
        starting = asyncio.ensure_future(self._start())
        others = [asyncio.create_task(event.wait()) for event in (self._stop, self._restart, self._replace)]
        try:
            await asyncio.wait({starting, *others}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
            connection = await starting
        except StartError as error:
            self.last_error, self.exit_code = str(error), error.exit_code
            return End.FAILED, 0.0
        except asyncio.CancelledError:
            if self._stop.is_set():
                return End.STOP, 0.0
            if self._restart.is_set():
                return End.RESTART, 0.0
            if self._replace.is_set():
                return End.REPLACED, 0.0
            raise
        finally:
            starting.cancel()
            for task in others:
                task.cancel()
        return await self._serve(connection)

    async def _serve(self, connection: Connection) -> tuple[End, float]:
        if self._replace.is_set():  # when it had just started
            await connection.close()
            return End.REPLACED, 0.0
        began = time.monotonic()
        self._connection, self._retry_at = connection, 0.0
        self._rest.clear()
        self._wanted.clear()
        await self._set(State.READY)
        log.info("%s: ready, pid %s", self._name, connection.pid)
        end = await self._until_the_end(connection)
        ran = time.monotonic() - began
        # Whoever needs the server from here on waits for the next process.
        self._connection = None
        if end is End.REPLACED:
            spawn(self._retire(connection), self._retiring)
            return end, ran
        await self._set(State.ENDING)
        if end is End.HUNG:
            connection.fail_calls()
        await connection.close()
        if end is End.HUNG:
            self.exit_code = None
            self.last_error = (
                f"MCP server {self._name} did not answer a ping within {self._care.ping:g} s: it is replaced"
            )
        elif end is End.FAILED and (exited := connection.exit) is not None:
            self.exit_code, self.last_error = exited.code, f"MCP server {self._name} {exited}"
        return end, ran

    async def _retire(self, connection: Connection) -> None:
        """End a process that another one has replaced, when its calls have ended."""
        ends = [asyncio.create_task(connection.drained()), asyncio.create_task(self._stop.wait())]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(ends)
        await connection.close()

    async def _until_the_end(self, connection: Connection) -> End:
        watched: dict[End, Coroutine[Any, Any, object]] = {
            End.STOP: self._stop.wait(),
            End.FAILED: connection.wait_closed(),
            End.RESTART: self._restart.wait(),
            End.REPLACED: self._replace.wait(),
        }
        if self._care.lazy:
            watched[End.IDLE] = self._until_idle(connection)
        if self._care.ping:
            watched[End.HUNG] = until_hung(connection, self._care.ping)
        tasks = {asyncio.create_task(work): end for end, work in watched.items()}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(tasks)
        for task in done:
            task.result()
        return next(end for task, end in tasks.items() if task in done)

    async def _until_idle(self, connection: Connection) -> None:
        """Until no call came for long. From that very moment on, nobody is given the connection any more."""
        limit = self._care.idle
        while True:
            idle = connection.idle_seconds()
            if idle and (self._rest.is_set() or 0 < limit <= idle):
                break
            self._rest.clear()
            await self._first(self._rest, seconds=limit - idle if limit else None)
        self._connection = None

    async def _first(self, *events: asyncio.Event, seconds: float | None = None) -> None:
        """Until one of the events is set, at most so long."""
        tasks = [asyncio.create_task(event.wait()) for event in events]
        try:
            await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(tasks)

    async def _set(self, state: State) -> None:
        async with self._changed:
            if state is not self.state:
                self.state, self.since = state, time.monotonic()
            self._changed.notify_all()

    def _unavailable(self) -> Unavailable:
        now = time.monotonic()
        if self.state in {State.STARTING, State.IDLE}:
            reason = f"has been starting for {now - self.since:.0f} s"
        elif self.state in {State.ENDING, State.STOPPED}:
            reason = "is stopped" if self.state is State.STOPPED else "has ended"
        else:
            reason = f"is down ({self.state.value}), next start in {max(0.0, self._retry_at - now):.0f} s"
        text = f"MCP server {self._name} {reason}"
        if self.last_error:
            text += f". {self.last_error}"
        retry_after = max(1.0, self._retry_at - now)
        return Unavailable(text, state=self.state, exit_code=self.exit_code, retry_after=retry_after)


async def until_hung(connection: Connection, seconds: float) -> None:
    """Ping a server every so often, until it leaves one without an answer for as long."""
    while True:
        await asyncio.sleep(seconds)
        if not await connection.answers(seconds):
            return
