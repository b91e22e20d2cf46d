"""Keeps one server running: starts it, starts it again when it ends, and tells who waits for it how things stand."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from enum import Enum

from mcp_operator_proxy.bridge.backoff import Backoff
from mcp_operator_proxy.bridge.connection import Connection
from mcp_operator_proxy.bridge.process import StartError

log = logging.getLogger(__name__)


class State(Enum):
    STARTING = "starting"
    READY = "ready"
    ENDING = "ending"
    BACKOFF = "backoff"
    CRASH_LOOP = "crash-loop"
    STOPPED = "stopped"


class Unavailable(Exception):
    """The server does not run, and a request did not reach it. The text is fit for a client's eyes."""

    def __init__(self, message: str, *, state: State, exit_code: int | None, retry_after: float) -> None:
        super().__init__(message)
        self.state = state
        self.exit_code = exit_code
        self.retry_after = retry_after


class Supervisor:
    """`start` gives a connection that is ready for use, or raises StartError; `on_restart` counts."""

    def __init__(
        self, name: str, start: Callable[[], Awaitable[Connection]], backoff: Backoff, on_restart: Callable[[], None]
    ) -> None:
        self._on_restart = on_restart
        self._name = name
        self._start = start
        self._backoff = backoff
        self._changed = asyncio.Condition()
        self._stop = asyncio.Event()
        self._connection: Connection | None = None
        self._retry_at = 0.0
        self.state = State.STARTING
        self.since = time.monotonic()
        self.restarts = 0
        self.exit_code: int | None = None
        self.last_error: str | None = None

    @property
    def connection(self) -> Connection | None:
        """The connection in use; None unless ready."""
        connection = self._connection
        return connection if connection is not None and connection.alive else None

    async def ready(self, seconds: float) -> Connection:
        """The connection, waiting at most so long. Raises Unavailable, at once where waiting is in vain."""
        deadline = time.monotonic() + seconds
        while (connection := self.connection) is None:
            left = deadline - time.monotonic()
            if self.state is State.STOPPED or left <= 0 or self._retry_at > deadline:
                raise self._unavailable()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left), self._changed:
                    await self._changed.wait()
        return connection

    async def run(self) -> None:
        """Until `stop`; then the server has ended."""
        while not self._stop.is_set():
            if not self._backoff.crash_loop:  # else it goes on to be called one until it is ready
                await self._set(State.STARTING)
            ran = await self._run_once()
            if self._stop.is_set():
                break
            delay = self._backoff.next(ran)
            self._retry_at = time.monotonic() + delay
            self.restarts += 1
            self._on_restart()
            await self._set(State.CRASH_LOOP if self._backoff.crash_loop else State.BACKOFF)
            log.warning("%s: %s; next start in %.1f s", self._name, self.last_error, delay)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay)
        await self._set(State.STOPPED)

    def stop(self) -> None:
        """Let `run` end the server and return."""
        self._stop.set()

    async def _run_once(self) -> float:
        """One life of the server; how long it was ready."""
        starting = asyncio.ensure_future(self._start())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
            connection = await starting
        except StartError as error:
            self.last_error, self.exit_code = str(error), error.exit_code
            return 0.0
        except asyncio.CancelledError:
            if self._stop.is_set():
                return 0.0
            raise
        finally:
            stopping.cancel()
        return await self._serve(connection)

    async def _serve(self, connection: Connection) -> float:
        began = time.monotonic()
        self._connection, self._retry_at = connection, 0.0
        await self._set(State.READY)
        log.info("%s: ready, pid %s", self._name, connection.pid)
        ended = asyncio.create_task(connection.wait_closed())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        ran = time.monotonic() - began
        await self._set(State.ENDING)
        await connection.close()
        for task in (ended, stopping):
            task.cancel()
        self._connection = None
        if (end := connection.exit) is not None:
            self.exit_code, self.last_error = end.code, f"MCP server {self._name} {end}"
        return ran

    async def _set(self, state: State) -> None:
        async with self._changed:
            self.state, self.since = state, time.monotonic()
            self._changed.notify_all()

    def _unavailable(self) -> Unavailable:
        now = time.monotonic()
        if self.state is State.STARTING:
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
