"""Isolation `shared`: one server process behind all sessions."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from weakref import WeakValueDictionary

from mcp_operator_proxy.bridge import handshake, jsonrpc, loglevels, modern
from mcp_operator_proxy.bridge.call import Call
from mcp_operator_proxy.bridge.connection import Connection, Listener
from mcp_operator_proxy.bridge.hub import Caller, Health, Hub, Opened, Refused, backoff_of, unavailable
from mcp_operator_proxy.bridge.jsonrpc import Message, params_of
from mcp_operator_proxy.bridge.listens import Listens
from mcp_operator_proxy.bridge.lists import KnownLists
from mcp_operator_proxy.bridge.metrics import Metrics
from mcp_operator_proxy.bridge.process import StartError
from mcp_operator_proxy.bridge.redact import redactor
from mcp_operator_proxy.bridge.sessions import Session
from mcp_operator_proxy.bridge.settings import Settings
from mcp_operator_proxy.bridge.stderr import ServerLog
from mcp_operator_proxy.bridge.subscriptions import Subscriptions
from mcp_operator_proxy.bridge.supervisor import Care, State, Supervisor, Unavailable

log = logging.getLogger(__name__)


class SharedHub(Hub):
    """The bridge is the server's one client, without capabilities of a client, so the server asks nothing of anyone."""

    def __init__(self, settings: Settings, metrics: Metrics, log: ServerLog | None = None) -> None:
        super().__init__(settings, metrics, log)
        self._environment = self._spec.environment
        care = Care(lazy=settings.lazy, idle=settings.process_idle, ping=settings.ping)
        backoff = backoff_of(settings)
        self._supervisor = Supervisor(settings.name, self._start, backoff, self._restarted, care)
        self._backoff = backoff
        self._lists = KnownLists()
        self._listens = Listens(self._lists.changed)
        self._discover_first = False
        self._result: Message | None = None
        self._subscriptions: Subscriptions[Session] = Subscriptions()
        self._subscribing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._server_level: str | None = None
        self._level_lock = asyncio.Lock()
        self._special: dict[str, Callable[[Session, Call, Connection], Awaitable[None]]] = {
            "logging/setLevel": self._set_level,
            "resources/subscribe": self._subscribe,
            "resources/unsubscribe": self._unsubscribe,
        }

    async def run(self) -> None:
        await self._supervisor.run()

    def _restarted(self) -> None:
        self.metrics.restarts.inc()
        if (told := self.settings.on_end) is not None:
            told(self._supervisor.last_error or "it ended", self._supervisor.restarts, self._backoff.crash_loop)

    def stop(self) -> None:
        self._supervisor.stop()

    def restart(self) -> None:
        self._supervisor.restart()

    def health(self) -> Health:
        supervisor, connection = self._supervisor, self._supervisor.connection
        known = self._result or {}
        return Health(
            state=supervisor.state,
            processes=int(connection is not None),
            ready=(connection is not None or self._rests()) and not self.draining,
            restarts=supervisor.restarts,
            pid=connection.pid if connection else None,
            exit_code=supervisor.exit_code,
            last_error=supervisor.last_error,
            uptime=time.monotonic() - supervisor.since if connection else None,
            details={"protocolVersion": handshake.version_of(known), "serverInfo": handshake.info_of(known)},
        )

    async def open(self, message: Message, caller: Caller) -> Opened | Refused:  # noqa: ARG002 - one process for all
        if (refused := self._full(message, len(self.sessions))) is not None:
            return refused
        try:
            if not self._rests():
                await self._supervisor.ready(self.settings.open_timeout or self.settings.wait_timeout)
        except Unavailable as error:
            return self._unavailable(message, error)
        assert self._result is not None
        if self.speaks_modern:
            return Refused(handshake.other_era(message, self._result), 400)
        session = Session()
        self._admit(session)
        return Opened(session, jsonrpc.result(message["id"], handshake.for_sessions(self._result)))

    async def submit(self, session: Session, call: Call) -> None:
        if self.answers_by_itself(session, call):
            return
        try:
            connection = await self._supervisor.ready(self.settings.wait_timeout)
        except Unavailable as error:
            call.finish(unavailable(call.message, error))
            return
        if call.done:
            return
        if call.method.startswith("tasks/"):
            call.fail(
                jsonrpc.METHOD_NOT_FOUND,
                f"{call.method} is not served: sessions share this server, and its tasks know no session",
            )
            return
        await self._special.get(call.method, _forward)(session, call, connection)

    async def exchange(self, call: Call, caller: Caller) -> None:  # noqa: ARG002 - one process for all
        if self.answers_modern(call):
            return
        waits = self.settings.open_timeout if call.method == modern.DISCOVER else None
        try:
            connection = await self._supervisor.ready(waits or self.settings.wait_timeout)
        except Unavailable as error:
            call.finish(unavailable(call.message, error))
            return
        assert self._result is not None
        if call.done:
            return
        if not self.speaks_modern:
            call.finish(handshake.other_era(call.message, self._result))
        elif call.method == modern.DISCOVER:
            call.succeed(handshake.for_clients(self._result))
        elif call.stands:
            await self._listens.add(call, connection)
        else:
            await connection.submit(call)

    async def learn(self, message: Message) -> Message | None:
        """See to it that the server is known; the error for the request where it can't be."""
        try:
            if self._result is None:
                await self._supervisor.ready(self.settings.wait_timeout)
        except Unavailable as error:
            return unavailable(message, error)
        return None

    def answers_modern(self, call: Call) -> bool:
        """Answer what the process need not be started or asked for."""
        if self._result is not None and not self.speaks_modern:
            call.finish(handshake.other_era(call.message, self._result))
        elif self.settings.lazy and self._result is not None and call.method == modern.DISCOVER:
            call.succeed(handshake.for_clients(self._result))
        elif self.settings.lazy and self._rests() and call.stands:
            self._listens.park(call)
        return call.done or (call.stands and call in self._listens) or self._answers_list(call)

    def _rests(self) -> bool:
        """The server is known, and it does not run because nobody needs it now."""
        return self._result is not None and self._supervisor.unneeded

    def renew(self, variables: Mapping[str, str]) -> None:
        """Run with these variables besides, which are secrets. A process that runs without them is replaced by the next request,
        and ends after its calls."""
        redact = redactor({**self._environment, **variables}, (*self.settings.secrets, *variables.values()))
        self._spec = replace(self._spec, environment={**self._environment, **variables}, redact=redact)
        self._lists.forget()
        self._supervisor.replace()

    @property
    def process(self) -> Connection | None:
        """The process that is in use."""
        return self._supervisor.connection

    @property
    def rests(self) -> bool:
        """There is no process, and none is on its way."""
        return self._supervisor.resting

    def rest(self) -> None:
        """End the process, unless a call is in flight."""
        self._supervisor.rest()

    async def left(self, state: State) -> None:
        """Wait until the server is in another state."""
        await self._supervisor.left(state)

    @property
    def known(self) -> Message | None:
        """What the server said of itself."""
        return self._result

    @property
    def speaks_modern(self) -> bool:
        """The server is known to be of the 2026-07-28 era alone."""
        return self._result is not None and modern.is_discovery(self._result)

    def assume(self, result: Message | None) -> None:
        """Take over what another process of the same server said of itself, so that sessions open without one."""
        self._result = self._result or result

    def _answers_list(self, call: Call) -> bool:
        """Answer with what a lazy server said last, or remember what it will say."""
        if not self.settings.lazy or not self._lists.concerns(call.message):
            return False
        if self._rests() and (known := self._lists.get(call.message)) is not None:
            call.succeed(known)
        else:
            call.on_result = partial(self._lists.keep, call.message)
        return call.done

    def answers_by_itself(self, session: Session, call: Call) -> bool:
        """Answer what a lazy server need not be started for."""
        if self._answers_list(call) or not self.settings.lazy or not self._rests():
            return call.done
        request = call.message
        if call.method == "ping":
            call.succeed({})
        elif call.method == "logging/setLevel" and loglevels.is_level(level := params_of(request).get("level")):
            session.log_level = str(level)  # the server is told when it has started
            call.succeed({})
        return call.done

    async def notify(self, session: Session, message: Message) -> None:  # noqa: ARG002 - all share one server
        """Only the bridge itself says `initialized`, and it has neither roots nor work in progress to speak of."""
        own = {"notifications/initialized", "notifications/roots/list_changed", "notifications/progress"}
        connection = self._supervisor.connection
        if connection is not None and message["method"] not in own:
            await connection.send(message)

    async def respond(self, session: Session, message: Message) -> None:  # noqa: ARG002
        log.debug("%s: a response to a request that was never passed on", self.settings.name)

    async def _release(self, session: Session) -> None:
        for uri in self._subscriptions.uris_of(session):
            async with self._lock_of(uri):
                connection = self._supervisor.connection
                if self._subscriptions.remove(uri, session) and connection is not None:
                    await self._ask(connection, "resources/unsubscribe", {"uri": uri})
        if session.log_level is not None:
            async with self._level_lock:
                if (connection := self._supervisor.connection) is not None:
                    await self._level_server(connection)

    async def _start(self) -> Connection:
        try:
            return await self._open_in(discover_first=self._discover_first)
        except handshake.Refused:
            if self._result is not None:
                raise
        except StartError:
            if self._result is None:
                self._discover_first = not self._discover_first  # what it was asked first may have been its end
            raise
        # A server of both eras is bound to the one that it is asked in first, even where that was refused.
        return await self._open_in(discover_first=not self._discover_first)

    async def _open_in(self, *, discover_first: bool) -> Connection:
        """A new process, opened in the era that it speaks, which is the first to be tried with the next one."""
        listener = Listener(self._hear, self._refuse, self.metrics.garbage.inc)
        connection = Connection(self._spec, listener)
        name, seconds = self.settings.name, self.settings.startup_timeout
        try:
            await connection.open()
            result = await handshake.open_server(connection, name, seconds, discover_first=discover_first)
            self._discover_first = modern.is_discovery(result)
            await self._restore(connection)
        except BaseException:
            await connection.close()
            raise
        await self._announce(result)
        return connection

    async def _restore(self, connection: Connection) -> None:
        """Tell a server that was started again what the one before had been told."""
        self._server_level = None
        if self._discover_first:
            await self._listens.restore(connection)
            return
        uris = self._subscriptions.uris()
        requests = [self._ask(connection, "resources/subscribe", {"uri": uri}) for uri in uris]
        await asyncio.gather(self._level_server(connection), *requests)

    async def _announce(self, result: Message) -> None:
        """Let sessions list again what may have changed; end them where the protocol itself did."""
        before, self._result = self._result, result
        if before is None:
            return
        if handshake.version_of(before) != handshake.version_of(result):
            for session in list(self.sessions.values()):
                await self.end(session, "the server was started again and speaks another protocol version")
        features = {*before["capabilities"], *result["capabilities"]}
        changed = [method for feature, method in handshake.LIST_CHANGED.items() if feature in features]
        self._listens.announce(changed)
        for method in changed:
            self._broadcast(jsonrpc.notification(method))
        for uri in self._subscriptions.uris():
            self._updated(jsonrpc.notification("notifications/resources/updated", {"uri": uri}))

    def _hear(self, message: Message) -> None:
        method = message["method"]
        if method in handshake.LIST_CHANGED.values():
            self._lists.changed(message)
            self._broadcast(message)
        elif method == "notifications/resources/updated":
            self._updated(message)
        elif method == "notifications/message":
            level = params_of(message).get("level")
            if self.speaks_modern and (connection := self._supervisor.connection) is not None:
                connection.log(message, alike=self.settings.isolation == "user")
            for session in self.sessions.values():
                if loglevels.wants(session.log_level, level):
                    session.deliver(message)
        else:
            log.debug("%s: %s is for no session", self.settings.name, method)

    def _refuse(self, connection: Connection, message: Message) -> None:
        if message["method"] == "ping":
            connection.post(jsonrpc.result(message["id"], {}))
            return
        text = "Method not found: sessions share this server, and no client answers its requests"
        connection.post(jsonrpc.error(message["id"], jsonrpc.METHOD_NOT_FOUND, text))

    def _broadcast(self, message: Message) -> None:
        for session in self.sessions.values():
            session.deliver(message)

    def _updated(self, message: Message) -> None:
        uri = params_of(message).get("uri")
        if isinstance(uri, str):
            for session in self._subscriptions.interested(uri):
                session.deliver(message)

    async def _set_level(self, session: Session, call: Call, connection: Connection) -> None:
        level = params_of(call.message).get("level")
        if self._result is None or "logging" not in self._result["capabilities"]:
            await connection.submit(call)
            return
        if not loglevels.is_level(level):
            call.fail(jsonrpc.INVALID_PARAMS, f"level is one of {', '.join(loglevels.LEVELS)}")
            return
        async with self._level_lock:
            before, session.log_level = session.log_level, str(level)
            response = await self._level_server(connection)
            if "error" in response:
                session.log_level = before
        call.finish({**response, "id": call.id})

    async def _level_server(self, connection: Connection) -> Message:
        """Give the server the level that satisfies all sessions; its answer, or an empty result where it has it."""
        level = loglevels.most_verbose(session.log_level for session in self.sessions.values())
        if level is None or level == self._server_level:
            return jsonrpc.result(0, {})
        response = await self._ask(connection, "logging/setLevel", {"level": level})
        if "error" not in response:
            self._server_level = level
        return response

    async def _subscribe(self, session: Session, call: Call, connection: Connection) -> None:
        uri = params_of(call.message).get("uri")
        if not isinstance(uri, str):
            await connection.submit(call)
            return
        async with self._lock_of(uri):
            if uri not in self._subscriptions:
                response = await self._ask(connection, "resources/subscribe", {"uri": uri})
                if "error" in response:
                    call.finish({**response, "id": call.id})
                    return
            if not session.ended:
                self._subscriptions.add(uri, session)
        call.succeed({})

    async def _unsubscribe(self, session: Session, call: Call, connection: Connection) -> None:
        uri = params_of(call.message).get("uri")
        if not isinstance(uri, str) or uri not in self._subscriptions:
            await connection.submit(call)
            return
        async with self._lock_of(uri):
            if self._subscriptions.remove(uri, session):
                response = await self._ask(connection, "resources/unsubscribe", {"uri": uri})
                call.finish({**response, "id": call.id})
        call.succeed({})

    async def _ask(self, connection: Connection, method: str, params: Message) -> Message:
        """The response to a request of the bridge's own, an error where there is none in time."""
        response = await connection.request(method, params, self.settings.wait_timeout)
        if response is not None:
            return response
        text = f"MCP server {self.settings.name} did not answer {method} within {self.settings.wait_timeout:g} s"
        return jsonrpc.error(0, jsonrpc.INTERNAL_ERROR, text)

    def _lock_of(self, uri: str) -> asyncio.Lock:
        return self._subscribing.setdefault(uri, asyncio.Lock())


async def _forward(_session: Session, call: Call, connection: Connection) -> None:
    await connection.submit(call)
