"""Isolation `session`: one server process for each HTTP session, whose messages pass through as they are."""

import asyncio
import logging
from functools import partial
from typing import Final

from mcp_operator_proxy.bridge import handshake, jsonrpc
from mcp_operator_proxy.bridge.backoff import Backoff
from mcp_operator_proxy.bridge.call import Call
from mcp_operator_proxy.bridge.connection import Connection, Listener
from mcp_operator_proxy.bridge.hub import Health, Hub, Opened, Refused
from mcp_operator_proxy.bridge.jsonrpc import Message
from mcp_operator_proxy.bridge.metrics import Metrics
from mcp_operator_proxy.bridge.process import StartError
from mcp_operator_proxy.bridge.sessions import Session
from mcp_operator_proxy.bridge.settings import Settings

log = logging.getLogger(__name__)

_OF_NO_CALL: Final = frozenset(handshake.LIST_CHANGED.values()) | {
    "notifications/resources/updated",
    "notifications/tasks/status",
}


class IsolatedHub(Hub):
    """A session's process starts with its `initialize`, and the session ends with its process."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        super().__init__(settings, metrics)
        self._stopped = asyncio.Event()
        self._connections: set[Connection] = set()
        self._watchers: set[asyncio.Task[None]] = set()
        self._backoff = Backoff(settings.backoff_first, settings.backoff_max)
        self._works = not settings.preflight
        self._restarts = 0
        self._exit_code: int | None = None
        self._last_error: str | None = None
        self._details: Message = {}

    async def run(self) -> None:
        preflight = asyncio.create_task(self._preflight())
        await self._stopped.wait()
        preflight.cancel()
        await asyncio.gather(preflight, return_exceptions=True)
        endings = [self.end(session, "the bridge is stopping") for session in list(self.sessions.values())]
        await asyncio.gather(*endings)
        await asyncio.gather(*(self._close(connection) for connection in list(self._connections)))
        await asyncio.gather(*self._watchers)

    def stop(self) -> None:
        self._stopped.set()

    def health(self) -> Health:
        state = "ready" if self._works else "starting"
        if not self._works and self._backoff.failures:
            state = "crash-loop" if self._backoff.crash_loop else "backoff"
        return Health(
            state=state,
            ready=self._works and not self.draining,
            restarts=self._restarts,
            exit_code=self._exit_code,
            last_error=self._last_error,
            details={"processes": len(self._connections), **self._details},
        )

    async def open(self, message: Message) -> Opened | Refused:
        if (refused := self._full(message, len(self._connections))) is not None:
            return refused
        session = Session()
        connection = self._connection(session)
        try:
            await connection.open()
            response = await self._initialize(connection, message)
        except StartError as error:
            self._failed(error)
            await self._close(connection)
            data = {"reason": "ServerUnavailable", "exitCode": error.exit_code}
            return Refused(jsonrpc.error(message["id"], jsonrpc.SERVER_UNAVAILABLE, str(error), data), 503)
        except BaseException:
            await self._close(connection)
            raise
        if "error" in response:
            await self._close(connection)
            return Refused(response)
        self._works = True
        self._remember(response["result"])
        session.connection = connection
        self._admit(session)
        self._watch(session, connection)
        return Opened(session, response)

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

    def _connection(self, session: Session) -> Connection:
        listener = Listener(partial(_hear, session), partial(_ask, session), self.metrics.garbage.inc)
        connection = Connection(self._spec, listener)
        self._connections.add(connection)
        return connection

    async def _close(self, connection: Connection) -> None:
        try:
            await connection.close()
        finally:
            self._connections.discard(connection)

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

    def _watch(self, session: Session, connection: Connection) -> None:
        async def until_the_end() -> None:
            await connection.wait_closed()
            connection.fail_calls()
            if not session.ended:
                self._restarts += 1
                self.metrics.restarts.inc()
                self._exit_code = _exit_code(connection)
                self._last_error = f"MCP server {self.settings.name} {connection.exit or 'ended'}"
                log.warning("%s; its session ends", self._last_error)
                await self.end(session, self._last_error)

        task = asyncio.create_task(until_the_end())
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)

    async def _preflight(self) -> None:
        """Start the server for a try, again and again until it, or a session, has answered."""
        while not self._works:
            connection = self._connection(Session())
            try:
                await connection.open()
                result = await handshake.initialize(connection, self.settings.name, self.settings.startup_timeout)
            except StartError as error:
                self._failed(error)
                delay = self._backoff.next(0.0)
                log.warning("%s; next try in %.1f s", error, delay)
            else:
                delay, self._works = 0.0, True
                self._remember(result)
            finally:
                await self._close(connection)
            await asyncio.sleep(delay)

    def _failed(self, error: StartError) -> None:
        self._last_error, self._exit_code = str(error), error.exit_code

    def _remember(self, result: Message) -> None:
        if isinstance(result, dict):
            self._details = {k: result.get(k) for k in ("protocolVersion", "serverInfo")}


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


def _answer_early(connection: Connection, message: Message) -> None:
    """Before `initialize` is answered a server may only ping (MCP, "Lifecycle")."""
    if message["method"] == "ping":
        connection.post(jsonrpc.result(message["id"], {}))
    else:
        text = f"{message['method']} before the end of initialization"
        connection.post(jsonrpc.error(message["id"], jsonrpc.INVALID_REQUEST, text))


def _exit_code(connection: Connection) -> int | None:
    return connection.exit.code if connection.exit else None
