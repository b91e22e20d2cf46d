"""One client's session with the proxy (the handshake eras), and the backend sessions that are its alone."""

import asyncio
import contextlib
from collections import defaultdict
from typing import Final, TypeAlias

from mcp.server.connection import Connection
from mcp.shared.exceptions import MCPError
from mcp_types import LoggingLevel, RootsListChangedNotification, SetLevelRequest, SetLevelRequestParams

from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.backends.relay import FrontRelay, close_all
from mcp_operator_proxy.backends.session import BackendSession, Call
from mcp_operator_proxy.report import ErrorReport

_KEY: Final = "mcp_operator_proxy.front"
_Key: TypeAlias = tuple[Backend, bool]
"""A backend, and whether the session with it is of the handshake eras by choice."""
IDLE_SECONDS: Final = 1800.0
TELL_SECONDS: Final = 5.0
"""For a note to one server: one that hangs must not hold up the others."""

_CLIENT_GONE: Final = ErrorReport(error_class="ConnectionReset", message="the client's session has ended")


class FrontSession:
    """Lives in its connection's state and ends with it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.principal: str | None = None
        """Name of the authenticated caller whose session it is."""
        self.log_level: LoggingLevel | None = None
        self._sessions: dict[_Key, tuple[BackendSession, FrontRelay]] = {}
        self._opening: defaultdict[_Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._failed: dict[_Key, BackendError] = {}
        """How the last attempt to open a session ended: calls that waited for it fail with it, not one after the other."""
        self._closed = False

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

    @property
    def can_be_asked(self) -> bool:
        """The client lets servers ask it for something."""
        can = self.connection.client_capabilities
        return can is not None and not (can.sampling is None and can.elicitation is None and can.roots is None)

    @property
    def backends(self) -> list[Backend]:
        """With which this client has sessions of its own."""
        return [backend for (backend, _), (session, _) in self._sessions.items() if session.usable]

    def held(self, backend: Backend) -> BackendSession | None:
        """This client's own session with a legacy `backend`, where it is open already."""
        held = self._sessions.get((backend, False))
        return held[0] if held is not None and held[0].usable else None

    async def session(self, backend: Backend, *, asks_in_results: bool = False) -> tuple[BackendSession, FrontRelay]:
        """This client's own session with `backend`, opened when first needed, and what carries its questions to the client.

        A server of both eras asks a client in the way of the connection's era. So one that can be asked gets a
        connection of its own era, but for what is known to ask in results. Raises BackendError.
        """
        handshake = backend.may_shake_hands and self.can_be_asked and not asks_in_results
        key = backend, handshake
        before = self._failed.get(key)
        async with self._opening[key]:
            held = self._sessions.get(key)
            if held is not None and held[0].usable:
                return held
            failed = self._failed.get(key)
            if failed is not None and failed is not before:  # the attempt that this one has waited for
                raise BackendError(failed.report, executed=False) from failed
            relay = FrontRelay(self.connection)
            session = backend.session(relay.callbacks(), handshake=handshake, principal=self.principal)
            relay.session, relay.log_level = session, self.log_level
            try:
                await session.open()
            except BackendError as error:
                self._failed[key] = error
                raise
            self._failed.pop(key, None)
            if self._closed:
                await session.close()
                raise BackendError(_CLIENT_GONE, executed=False)
            self._sessions[key] = session, relay
            if self.log_level is not None:
                await self._send_level(session)
            return session, relay

    async def set_log_level(self, level: LoggingLevel) -> None:
        self.log_level = level
        sessions = list(self._sessions.values())
        for _, relay in sessions:
            relay.log_level = level
        await asyncio.gather(*(self._send_level(session) for session, _ in sessions if session.usable))

    async def _send_level(self, session: BackendSession) -> None:
        connected = session.connected
        if self.log_level is None or connected.modern or connected.capabilities.logging is None:
            return
        request = SetLevelRequest(params=SetLevelRequestParams(level=self.log_level))
        params = request.params.model_dump(by_alias=True, mode="json", exclude_none=True)
        with contextlib.suppress(MCPError, BackendError):  # the relay filters by level too
            await session.request(request.method, params, Call(None, TELL_SECONDS))

    async def roots_changed(self) -> None:
        tell = [s.connected.session for s, _ in self._sessions.values() if s.usable and not s.connected.modern]
        telling = (session.send_notification(RootsListChangedNotification()) for session in tell)
        await asyncio.gather(*(asyncio.wait_for(one, TELL_SECONDS) for one in telling), return_exceptions=True)

    async def forget(self, backends: set[Backend], now: float) -> None:
        """Close sessions with backends that are no more, and those that have idled too long."""
        gone = [
            key
            for key, (session, _) in self._sessions.items()
            if not session.calls
            and not session.borrowed
            and (key[0] in backends or not session.usable or now - session.last_used > IDLE_SECONDS)
        ]
        await close_all([self._sessions.pop(key)[0] for key in gone])
        for key in gone:
            self._opening.pop(key, None)
            self._failed.pop(key, None)

    async def close(self) -> None:
        self._closed = True
        sessions = [session for session, _ in self._sessions.values()]
        self._sessions.clear()
        await close_all(sessions)
