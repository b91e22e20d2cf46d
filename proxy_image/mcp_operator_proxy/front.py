"""One client's session with the proxy (the handshake eras), and the backend sessions that are its alone."""

import asyncio
import contextlib
from collections import defaultdict
from typing import Final

from mcp.server.connection import Connection
from mcp.shared.exceptions import MCPError
from mcp_types import LoggingLevel, RootsListChangedNotification, SetLevelRequest, SetLevelRequestParams

from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.relay import FrontRelay, close_all
from mcp_operator_proxy.backends.session import BackendSession, Call

_KEY: Final = "mcp_operator_proxy.front"
IDLE_SECONDS: Final = 1800.0


class FrontSession:
    """Lives in its connection's state and ends with it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.log_level: LoggingLevel | None = None
        self._sessions: dict[Backend, tuple[BackendSession, FrontRelay]] = {}
        self._opening: defaultdict[Backend, asyncio.Lock] = defaultdict(asyncio.Lock)

    @classmethod
    def of(cls, connection: Connection) -> "FrontSession":
        """The front session of a connection; the first use makes it, and the connection's end closes it."""
        found = connection.state.get(_KEY)
        if isinstance(found, cls):
            return found
        made = cls(connection)
        connection.state[_KEY] = made
        connection.exit_stack.push_async_callback(made.close)
        return made

    async def session(self, backend: Backend) -> BackendSession:
        """This client's own session with `backend`, opened when first needed. Raises BackendError."""
        return (await self.session_and_relay(backend))[0]

    async def session_and_relay(self, backend: Backend) -> tuple[BackendSession, FrontRelay]:
        """The same, and what carries its questions to the client. Raises BackendError."""
        async with self._opening[backend]:
            held = self._sessions.get(backend)
            if held is not None and held[0].usable:
                return held
            relay = FrontRelay(self.connection)
            session = backend.session(relay.callbacks())
            relay.session, relay.log_level = session, self.log_level
            await session.open()
            self._sessions[backend] = session, relay
            if self.log_level is not None:
                await self._send_level(session)
            return session, relay

    async def set_log_level(self, level: LoggingLevel) -> None:
        self.log_level = level
        for session, relay in list(self._sessions.values()):
            relay.log_level = level
            await self._send_level(session)

    async def _send_level(self, session: BackendSession) -> None:
        connected = session.connected
        if self.log_level is None or connected.modern or connected.capabilities.logging is None:
            return
        request = SetLevelRequest(params=SetLevelRequestParams(level=self.log_level))
        params = request.params.model_dump(by_alias=True, mode="json", exclude_none=True)
        with contextlib.suppress(MCPError):  # the relay filters by level too
            await session.request(request.method, params, Call(None, 5.0))

    async def roots_changed(self) -> None:
        for session, _ in list(self._sessions.values()):
            if session.usable and not session.connected.modern:
                await session.connected.session.send_notification(RootsListChangedNotification())

    async def forget(self, backends: set[Backend], now: float) -> None:
        """Close sessions with backends that are no more, and those that have idled too long."""
        gone = [
            backend
            for backend, (session, _) in self._sessions.items()
            if not session.calls
            and (backend in backends or not session.usable or now - session.last_used > IDLE_SECONDS)
        ]
        await close_all([self._sessions.pop(backend)[0] for backend in gone])
        for backend in gone:
            self._opening.pop(backend, None)

    async def close(self) -> None:
        sessions = [session for session, _ in self._sessions.values()]
        self._sessions.clear()
        await close_all(sessions)
