"""Isolation `session`: one server process for each HTTP session, whose messages pass through as they are."""

import asyncio
import contextlib
import logging
import time
from functools import partial
from typing import Final

from mcp_operator_proxy.bridge import handshake, jsonrpc, modern
from mcp_operator_proxy.bridge.borrowed import Borrowed
from mcp_operator_proxy.bridge.call import Call
from mcp_operator_proxy.bridge.connection import Connection, Listener
from mcp_operator_proxy.bridge.hub import Caller, Health, Hub, Opened, Refused, backoff_of, longest_idle, too_many
from mcp_operator_proxy.bridge.jsonrpc import Message
from mcp_operator_proxy.bridge.metrics import Metrics
from mcp_operator_proxy.bridge.owndirs import OwnDirs, with_own_dir
from mcp_operator_proxy.bridge.process import StartError
from mcp_operator_proxy.bridge.sessions import Session
from mcp_operator_proxy.bridge.settings import Settings
from mcp_operator_proxy.bridge.stderr import ServerLog
from mcp_operator_proxy.bridge.supervisor import State, until_hung
from mcp_operator_proxy.tasks import cancel, spawn

log = logging.getLogger(__name__)

_OF_NO_CALL: Final = frozenset(handshake.LIST_CHANGED.values()) | {
    "notifications/resources/updated",
    "notifications/tasks/status",
}


class _Full(Exception):
    """There are as many processes as there may be, and all are needed."""


class IsolatedHub(Hub):
    """A session's process starts with its `initialize`, and the session ends with its process."""

    def __init__(self, settings: Settings, metrics: Metrics, log: ServerLog | None = None) -> None:
        super().__init__(settings, metrics, log)
        self._stopped = asyncio.Event()
        self._connections: dict[Connection, str] = {}
        """And the folders of their own."""
        self._own_dirs = OwnDirs(settings.own_dirs)
        self._watchers: set[asyncio.Task[None]] = set()
        self._backoff = backoff_of(settings)
        self._retry_at = 0.0
        self._again = asyncio.Event()
        self._spare: tuple[Session, Connection] | None = None
        self._preparing = False
        self._works = not settings.preflight
        self._restarts = 0
        self._exit_code: int | None = None
        self._last_error: str | None = None
        self._details: Message = {}
        self._known: Message | None = None
        self._learned = asyncio.Event()
        self._borrowed = Borrowed(self._begin, lambda connection: spawn(self._close(connection), self._watchers))

    async def run(self) -> None:
        preflight = asyncio.create_task(self._preflight())
        await self._stopped.wait()
        preflight.cancel()
        await asyncio.gather(preflight, return_exceptions=True)
        endings = [self.end(session, "the bridge is stopping") for session in list(self.sessions.values())]
        await asyncio.gather(*endings)
        await asyncio.gather(*(self._close(connection) for connection in list(self._connections)))
        await asyncio.gather(*self._watchers)
        self._own_dirs.close()

    def stop(self) -> None:
        self._stopped.set()

    def restart(self) -> None:
        """End all sessions: their clients open new ones, with new processes."""
        self._backoff.reset()
        self._retry_at = 0.0
        self._again.set()
        if self._spare is not None:
            spawn(self._close(self._spare[1]), self._watchers)
            self._spare = None
        self._borrowed.end_all()
        for session in list(self.sessions.values()):
            spawn(self.end(session, "the server was restarted"), self._watchers)

    def health(self) -> Health:
        state = State.READY if self._works else State.STARTING
        if self._backoff.crash_loop:
            state = State.CRASH_LOOP
        elif not self._works and self._backoff.failures:
            state = State.BACKOFF
        return Health(
            state=state,
            processes=len(self._connections),
            ready=self._works and not self._backoff.crash_loop and not self.draining,
            restarts=self._restarts,
            exit_code=self._exit_code,
            last_error=self._last_error,
            details={"processes": len(self._connections), **self._details},
        )

    @property
    def known(self) -> Message | None:
        return self._known

    @property
    def speaks_modern(self) -> bool:
        """The server is known to be of the 2026-07-28 era alone."""
        return self._known is not None and modern.is_discovery(self._known)

    def assume(self, result: Message | None) -> None:
        """What the server is known to say of itself: by its era its processes are opened."""
        if result is not None:
            self._known = result
            self._learned.set()

    async def exchange(self, call: Call, caller: Caller) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.wait_timeout):
                await self._learned.wait()
        if self._known is None:
            text = self._last_error or f"MCP server {self.settings.name} is starting"
            call.finish(self._refused(call.message, text, None).response)
        elif not self.speaks_modern:
            call.finish(handshake.other_era(call.message, self._known))
        elif call.method == modern.DISCOVER:
            call.succeed(self._known)
        else:
            await self._exchange(call, caller)

    async def _exchange(self, call: Call, caller: Caller) -> None:
        try:
            connection = await self._borrowed.lend(call, caller.key)
        except _Full:
            call.finish(self._too_many(call.message))
            return
        except StartError as error:
            call.finish(self._refused(call.message, str(error), None).response)
            return
        if call.done and caller.key is not None:
            self._borrowed.leave(caller.key)  # it has gone while the process started
            return
        await connection.submit(call)

    async def _begin(self) -> Connection:
        """A process that has been opened in the 2026-07-28 era. Raises StartError, _Full."""
        if self._backoff.crash_loop and self._retry_at > time.monotonic():
            raise StartError(f"MCP server {self.settings.name} is down (crash-loop). {self._last_error}")
        _, connection = self._take_spare()
        if connection is None:
            if not await self._has_room():
                raise _Full
            connection = self._connection(Session())
        name, seconds = self.settings.name, self.settings.startup_timeout
        try:
            if connection.pid is None:
                await connection.open()
            self._worked(await handshake.open_server(connection, name, seconds, discover_first=True))
        except StartError as error:
            self._failed(error)
            await self._close(connection)
            raise
        except BaseException:
            await self._close(connection)
            raise
        self._watch(None, connection)
        if self.settings.spare and len(self._connections) < self._limit:
            spawn(self._prepare(), self._watchers)
        return connection

    def leave(self, key: str) -> None:
        self._borrowed.leave(key)

    async def sweep(self) -> None:
        await asyncio.gather(super().sweep(), self._sweep_borrowed())

    async def _sweep_borrowed(self) -> None:
        limit = self.settings.process_idle or self.settings.idle_timeout
        while limit:
            await asyncio.sleep(min(limit / 4, 30.0))
            for connection, idle in self._borrowed.idle().items():
                if idle >= limit:
                    self._borrowed.end(connection)

    async def open(self, message: Message, caller: Caller) -> Opened | Refused:  # noqa: ARG002 - all are alike here
        if self.speaks_modern:
            return Refused(handshake.other_era(message, self._known), 400)
        if self._backoff.crash_loop and (left := self._retry_at - time.monotonic()) > 0:
            return self._refused(
                message, f"MCP server {self.settings.name} is down (crash-loop). {self._last_error}", left
            )
        session, connection = self._take_spare()
        if connection is not None and (response := await self._answer_of(connection, message)) is not None:
            return self._opened(session, connection, response)
        session = Session()
        if (refused := await self._refuse_when_full(message)) is not None:
            return refused
        connection = self._connection(session)
        try:
            await connection.open()
            response = await self._initialize(connection, message)
        except StartError as error:
            self._failed(error)
            await self._close(connection)
            return self._refused(message, str(error), None)
        except BaseException:
            await self._close(connection)
            raise
        if "error" in response:
            await self._close(connection)
            return Refused(response)
        return self._opened(session, connection, response)

    async def _answer_of(self, spare: Connection, message: Message) -> Message | None:
        """What a process that was started in advance answers; None where it died meanwhile, or does not want this client."""
        try:
            response = await self._initialize(spare, message)
        except StartError:
            response = None
        except BaseException:
            await self._close(spare)
            raise
        if response is None or "error" in response:
            await self._close(spare)
            return None
        return response

    def _opened(self, session: Session, connection: Connection, response: Message) -> Opened:
        self._worked(response["result"])
        session.connection = connection
        self._admit(session)
        self._watch(session, connection)
        if self.settings.spare and len(self._connections) < self._limit:
            spawn(self._prepare(), self._watchers)
        return Opened(session, response)

    @property
    def _limit(self) -> int:
        return self.settings.max_processes or self.settings.max_sessions

    async def _refuse_when_full(self, message: Message) -> Refused | None:
        return None if await self._has_room() else Refused(self._too_many(message), 503, retry_after=5.0)

    async def _has_room(self) -> bool:
        """Make room by ending the session that has been idle for longest, where that is long enough."""
        for ended in [c for c in self._connections if c.closing or (c.pid is not None and not c.alive)]:
            await self._close(ended)
        if len(self._connections) >= self._limit:
            idle = {
                session: session.connection.idle_seconds() for session in self.sessions.values() if session.connection
            }
            if idle and idle[longest := max(idle, key=idle.__getitem__)] >= self.settings.evict_idle:
                await self.end(longest, "the session was idle, and its process was needed for another one")
            elif (longest_of := longest_idle(self._borrowed.idle(), self.settings.evict_idle)) is not None:
                self._borrowed.end(longest_of)
                await self._close(longest_of)
        return len(self._connections) < self._limit

    def _too_many(self, message: Message) -> Message:
        self.metrics.refused.inc()
        what = "processes" if self.settings.max_processes else "sessions"
        return too_many(self.settings.name, message, what, self._limit)

    async def _prepare(self) -> None:
        """Start a process for the next session, which then need not wait for that. It is not told anything yet."""
        if self._spare is not None or self._preparing or self._stopped.is_set():
            return
        session = Session()
        connection = self._connection(session)
        self._preparing = True
        try:
            await connection.open()
        except StartError as error:
            self._failed(error)
        else:
            if not self._stopped.is_set():
                self._spare = session, connection
                return
        finally:
            self._preparing = False
        await self._close(connection)

    def _take_spare(self) -> tuple[Session, Connection | None]:
        """The process that was started in advance, with its session; a new session where there is none that runs."""
        spare, self._spare = self._spare, None
        if spare is not None and spare[1].alive:
            return spare
        if spare is not None:
            spawn(self._close(spare[1]), self._watchers)
        return Session(), None

    def _is_idle(self, session: Session) -> bool:
        """Also when a stream stands open: a client that is there but calls nothing does not need a process."""
        limit, connection = self.settings.process_idle, session.connection
        return super()._is_idle(session) or (connection is not None and 0 < limit <= connection.idle_seconds())

    async def submit(self, session: Session, call: Call) -> None:
        assert session.connection is not None
        await session.connection.submit(call)

    async def notify(self, session: Session, message: Message) -> None:
        assert session.connection is not None
        await session.connection.send(message)

    async def respond(self, session: Session, message: Message) -> None:
        assert session.connection is not None
        await session.connection.send(message)

    async def _release(self, session: Session) -> None:
        if session.connection is not None:
            await self._close(session.connection)

    def _refused(self, message: Message, text: str, retry_after: float | None) -> Refused:
        data = {"reason": "ServerUnavailable", "state": self.health().state.value, "exitCode": self._exit_code}
        error = jsonrpc.error(message["id"], jsonrpc.SERVER_UNAVAILABLE, text, data)
        return Refused(error, 503, retry_after)

    def _connection(self, session: Session) -> Connection:
        listener = Listener(partial(_hear, session), partial(_ask, session), self.metrics.garbage.inc)
        if self.speaks_modern:
            listener = Listener(lambda message: connection.log(message, alike=True), _ask_nobody, listener.garbage)
        folder = self._own_dirs.of("session")
        connection: Connection = Connection(with_own_dir(self._spec, folder), listener)
        self._connections[connection] = folder
        return connection

    async def _close(self, connection: Connection) -> None:
        try:
            await connection.close()
        finally:
            if (folder := self._connections.pop(connection, None)) is not None:
                self._own_dirs.remove(folder)

    async def _initialize(self, connection: Connection, message: Message) -> Message:
        """The server's own answer to the client's `initialize`. Raises StartError where it has none."""
        call = Call(message, streams=False)
        try:
            async with asyncio.timeout(self.settings.startup_timeout):
                await connection.submit(call)
                response = await call.response()
        except TimeoutError:
            raise handshake.too_slow(connection, self.settings.name, self.settings.startup_timeout) from None
        if not connection.alive:
            raise StartError(f"MCP server {self.settings.name} {connection.exit or 'ended'}", _exit_code(connection))
        return response

    def _watch(self, session: Session | None, connection: Connection) -> None:
        """See to the end of a session's process, or of one that is borrowed."""

        async def until_the_end() -> None:
            how = await self._end_of(connection)
            connection.fail_calls()
            wanted = connection.closing if session is None else session.ended
            if not wanted:
                self._restarts += 1
                self.metrics.restarts.inc()
                self._exit_code = _exit_code(connection)
                self._last_error = f"MCP server {self.settings.name} {how}"
                log.warning("%s; its session ends", self._last_error)
                if self.settings.on_end is not None:
                    self.settings.on_end(self._last_error, self._restarts, False)
            if session is None:
                self._borrowed.end(connection)
            elif not wanted:
                await self.end(session, self._last_error or "")

        spawn(until_the_end(), self._watchers)

    async def _end_of(self, connection: Connection) -> str:
        """Wait until a process has ended, or does not answer any more; says which."""
        closed = asyncio.create_task(connection.wait_closed())
        hung = asyncio.create_task(until_hung(connection, self.settings.ping)) if self.settings.ping else closed
        try:
            await asyncio.wait({closed, hung}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel({closed, hung})
        if connection.alive:
            return f"did not answer a ping within {self.settings.ping:g} s"
        return str(connection.exit or "ended")

    async def _preflight(self) -> None:
        """Start the server for a try, again and again until it, or a session, has answered."""
        discover_first = False
        while not self._works:
            connection = self._connection(Session())
            self._again.clear()
            try:
                await connection.open()
                name, seconds = self.settings.name, self.settings.startup_timeout
                result = await handshake.open_server(connection, name, seconds, discover_first=discover_first)
            except StartError as error:
                discover_first = not discover_first  # what it was asked first may have been its end
                delay = self._failed(error)
                log.warning("%s; next try in %.1f s", error, delay)
            else:
                self._worked(result)
                self.assume(result)
                return
            finally:
                await self._close(connection)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._again.wait()

    def _failed(self, error: StartError) -> float:
        """Note that a start failed. In a crash loop no other one is tried for a while, and its seconds are returned.

        Only starts count: a client whose calls crash its process takes nothing from the others.
        """
        self._last_error, self._exit_code = str(error), error.exit_code
        delay = self._backoff.next(0.0)
        self._retry_at = time.monotonic() + delay
        return delay

    def _worked(self, result: Message) -> None:
        self._works = True
        self._backoff.reset()
        if isinstance(result, dict):
            self._details = {
                "protocolVersion": handshake.version_of(result),
                "serverInfo": handshake.info_of(result),
            }


def _hear(session: Session, message: Message) -> None:
    if message["method"] in _OF_NO_CALL:
        session.deliver(message)
    else:
        session.deliver_near_call(message)


def _ask(session: Session, connection: Connection, message: Message) -> None:
    """Pass a request of the server on to the client, whose answer comes as a POST of its own."""
    if session.connection is None:
        _answer_early(connection, message)
    elif not session.deliver_near_call(message):
        connection.post(jsonrpc.error(message["id"], jsonrpc.INTERNAL_ERROR, "the client takes no requests"))


def _ask_nobody(connection: Connection, message: Message) -> None:
    """In the 2026-07-28 era a server asks in its results alone."""
    text = f"Method not found: {message['method']} is no request of a server in this era"
    connection.post(jsonrpc.error(message["id"], jsonrpc.METHOD_NOT_FOUND, text))


def _answer_early(connection: Connection, message: Message) -> None:
    """Before `initialize` is answered a server may only ping (MCP, "Lifecycle")."""
    if message["method"] == "ping":
        connection.post(jsonrpc.result(message["id"], {}))
    else:
        text = f"{message['method']} before the end of initialization"
        connection.post(jsonrpc.error(message["id"], jsonrpc.INVALID_REQUEST, text))


def _exit_code(connection: Connection) -> int | None:
    return connection.exit.code if connection.exit else None
