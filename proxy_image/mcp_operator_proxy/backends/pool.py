"""Sessions for callers that have none of their own: one request at a time holds a session, idle ones are kept a while.

What is shared, and what is not:

- A session never serves two callers at once, and never callers with different keys: users, sets of client capabilities.
- A client with a session of its own with the proxy has its own sessions with servers; they never come here.
- HTTP connections beneath are shared by all sessions with a server: they carry the server's configured headers, no
  cookies, and nothing of a user.

How many are leased at once is limited by the server's gate (`max_concurrency`), how many lie idle by `MAX_IDLE`.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable
from typing import Final

from mcp.shared.exceptions import MCPError

from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.backends.session import BackendSession
from mcp_operator_proxy.report import ErrorReport
from mcp_operator_proxy.tasks import spawn

MAX_IDLE: Final = 128
IDLE_SECONDS: Final = 60.0
_CLOSED: Final = ErrorReport(error_class="ConnectionReset", message="the proxy has let go of the server")


class SessionPool:
    """`key` keeps apart what must not share a session. Sessions are opened when they are first needed."""

    def __init__(
        self,
        new_session: Callable[[Hashable], BackendSession],
        *,
        max_idle: int = MAX_IDLE,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._new_session = new_session
        self._max_idle = max_idle
        self._idle_seconds = idle_seconds
        self._sweeping: asyncio.TimerHandle | None = None
        self._idle: OrderedDict[BackendSession, Hashable] = OrderedDict()
        """In the order in which they were used, the newest last."""
        self._leased: dict[BackendSession, Hashable] = {}
        self._opening: set[BackendSession] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def leased(self) -> int:
        return len(self._leased)

    @contextlib.asynccontextmanager
    async def lease(self, key: Hashable) -> AsyncIterator[BackendSession]:
        """A session that nobody else uses until the block ends. Raises BackendError."""
        session = self._take_idle(key)
        if session is None:
            session = await self._opened(key)
        self._leased[session] = key
        try:
            yield session
        except MCPError:
            raise  # the server's own answer: the session is as good as before
        except BaseException:
            # The exchange may still be open on the server's side: nobody else may meet its remains.
            session.retired = True
            raise
        finally:
            del self._leased[session]
            self._give_back(key, session)

    async def _opened(self, key: Hashable) -> BackendSession:
        """A new session. One that is being opened when the pool is closed is cut off, and raises BackendError."""
        if self._closed:
            raise BackendError(_CLOSED, executed=False)
        session = self._new_session(key)
        self._opening.add(session)
        try:
            await session.open()
        finally:
            self._opening.discard(session)
        return session

    def _take_idle(self, key: Hashable) -> BackendSession | None:
        while (session := next((s for s, owner in reversed(self._idle.items()) if owner == key), None)) is not None:
            del self._idle[session]
            if session.usable:
                return session
            spawn(session.close(), self._closing)
        return None

    def _give_back(self, key: Hashable, session: BackendSession) -> None:
        if not session.usable:
            spawn(session.close(), self._closing)
            return
        self._idle[session] = key
        while len(self._idle) > self._max_idle:
            spawn(self._idle.popitem(last=False)[0].close(), self._closing)
        self._sweep_later()

    def _sweep_later(self) -> None:
        if self._idle and self._sweeping is None:
            oldest = next(iter(self._idle)).last_used
            self._sweeping = asyncio.get_running_loop().call_at(oldest + self._idle_seconds, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        self.drop_idle(self._idle_seconds)
        self._sweep_later()

    def drop_idle(self, older_than: float | None = None) -> None:
        """Close idle sessions: all of them, or those not used for `older_than` seconds."""
        now = asyncio.get_running_loop().time()
        for session in list(self._idle):
            if older_than is None or not session.usable or now - session.last_used >= older_than:
                del self._idle[session]
                spawn(session.close(), self._closing)

    async def close(self) -> None:
        """End the idle sessions and those being opened; those on lease are their holders' to end."""
        self._closed = True
        self._max_idle = 0
        if self._sweeping is not None:
            self._sweeping.cancel()
        self.drop_idle()
        for session in self._opening:
            spawn(session.close(), self._closing)
        if self._closing:
            await asyncio.wait(self._closing)
