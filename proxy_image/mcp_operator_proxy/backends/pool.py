"""Sessions for callers that have none of their own: one request at a time holds a session, idle ones are kept a while."""

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Hashable
from typing import Final

from mcp.shared.exceptions import MCPError

from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.backends.session import BackendSession
from mcp_operator_proxy.report import ErrorReport

MAX_SESSIONS: Final = 256
IDLE_SECONDS: Final = 60.0


class SessionPool:
    """`key` keeps apart what must not share a session: users, and sets of client capabilities."""

    def __init__(self, new_session: Callable[[Hashable], BackendSession]) -> None:
        self._new_session = new_session
        self._idle: defaultdict[Hashable, deque[BackendSession]] = defaultdict(deque)
        self._room = asyncio.Semaphore(MAX_SESSIONS)
        self._closing: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def lease(self, key: Hashable, wait_seconds: float) -> AsyncIterator[BackendSession]:
        """A session that nobody else uses until the block ends. Raises BackendError."""
        try:
            async with asyncio.timeout(wait_seconds):
                await self._room.acquire()
        except TimeoutError as error:
            raise BackendError(_BUSY, executed=False) from error
        try:
            session = self._take_idle(key)
            if session is None:
                session = self._new_session(key)
                await session.open()
            try:
                yield session
            except MCPError:
                raise  # the server's own answer: the session is as good as before
            except BaseException:
                # The exchange may still be open on the server's side: nobody else may meet its remains.
                session.retired = True
                raise
            finally:
                self._give_back(key, session)
        finally:
            self._room.release()

    def _take_idle(self, key: Hashable) -> BackendSession | None:
        idle = self._idle[key]
        while idle:
            session = idle.pop()
            if session.usable:
                return session
            self._close(session)
        return None

    def _give_back(self, key: Hashable, session: BackendSession) -> None:
        if session.usable:
            self._idle[key].append(session)
        else:
            self._close(session)

    def _close(self, session: BackendSession) -> None:
        task = asyncio.get_running_loop().create_task(session.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def drop_idle(self, older_than: float | None = None) -> None:
        """Close idle sessions: all of them, or those not used for `older_than` seconds."""
        now = asyncio.get_running_loop().time()
        for key in list(self._idle):
            keep = [
                s for s in self._idle[key] if older_than is not None and now - s.last_used < older_than and s.usable
            ]
            for session in self._idle[key]:
                if session not in keep:
                    self._close(session)
            if keep:
                self._idle[key] = deque(keep)
            else:
                del self._idle[key]

    async def close(self) -> None:
        self.drop_idle()
        if self._closing:
            await asyncio.wait(self._closing)


_BUSY = ErrorReport(
    error_class="Timeout", message="all sessions with the server are in use; it answers too slowly for this load"
)
