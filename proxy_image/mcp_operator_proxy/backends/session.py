"""One MCP session with a backend, kept open by a task of its own so that any task may use it."""

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Any, ClassVar, Final, TypeAlias

from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    UNSUPPORTED_PROTOCOL_VERSION,
    Request,
)
from pydantic import ValidationError

from mcp_operator_proxy.backends.classify import BackendError, challenge_of, classify, is_own_error
from mcp_operator_proxy.backends.connect import RAW, Connected
from mcp_operator_proxy.backends.gate import Gate
from mcp_operator_proxy.backends.http import Attempt, current_attempt
from mcp_operator_proxy.backends.waits import waited, waiting
from mcp_operator_proxy.eras.translate import check_whole
from mcp_operator_proxy.recording import CURRENT
from mcp_operator_proxy.report import ErrorReport
from mcp_operator_proxy.tasks import cancel, spawn
from mcp_operator_proxy.tracing.asking import asking
from mcp_operator_proxy.tracing.spans import Attributes

logger = logging.getLogger(__name__)
CLOSE_SECONDS: Final = 2.0

Opener = Callable[[], AbstractAsyncContextManager[Connected]]


class Deadline:
    """The time that a call has left. It starts anew with each progress note and stands still while a person is asked."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._timeout: asyncio.Timeout | None = None
        self._paused = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Raises TimeoutError when it is over. Between one such block and the next nothing runs out."""
        async with asyncio.timeout(None if self._paused else self.seconds) as timeout:
            self._timeout = timeout
            try:
                yield
            finally:
                self._timeout = None

    @property
    def expires_at(self) -> float | None:
        """By the loop's clock; None where nothing runs out at the moment."""
        return self._timeout.when() if self._timeout is not None else None

    def renew(self) -> None:
        if self._timeout is not None and not self._paused and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time() + self.seconds)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        self._paused += 1
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(None)
        try:
            yield
        finally:
            self._paused -= 1
            self.renew()


class Call:
    """One request on its way through the proxy: who asked (`front`, opaque here) and how long it may take.

    `gate` is the one that it passed, if any: while its client is asked something, its place there is free.
    """

    def __init__(
        self, front: Any, seconds: float, on_progress: ProgressFnT | None = None, gate: Gate | None = None
    ) -> None:
        self.front = front
        self.deadline = Deadline(seconds)
        self.on_progress = on_progress
        self._gate = gate
        self._questions = 0

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """While the client is asked, its time stands still and its place is free."""
        if self._gate is not None and not self._questions:
            self._gate.step_aside()
        self._questions += 1
        try:
            with self.deadline.paused():
                yield
        finally:
            self._questions -= 1
            if self._gate is not None and not self._questions:
                self._gate.step_back()

    async def tell(self, note: Callable[[Any], Awaitable[None]]) -> None:
        """Send a notification of the server to the client: `note` is called with its `front`, if there is one."""
        if self.front is not None:
            await note(self.front)


current_call: ContextVar[Call | None] = ContextVar("backend_call", default=None)
"""The call in whose HTTP exchange a message of the backend arrived: its POST runs in the caller's context."""


TASK_METHODS: Final = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})
_Request: TypeAlias = Request[dict[str, Any], str]


class _TaskRequest(_Request):
    """SEP-2663: the header `Mcp-Name` repeats the task's id."""

    name_param: ClassVar[str | None] = "taskId"


class BackendSession:
    """Open it, `request` with it from anywhere, close it. A session is dead once its transport has ended."""

    def __init__(
        self,
        opener: Opener,
        secrets: Callable[[], tuple[str, ...]],
        server: str = "",
        peer: Callable[[str | None], Attributes] | None = None,
    ) -> None:
        """`peer` tells a trace whom the session of that id is with."""
        self.server = server
        """Its id."""
        self._opener = opener
        self._secrets = secrets
        self._peer = peer
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connected: asyncio.Future[Connected] | None = None
        self.calls: list[Call] = []
        self.retired = False
        """No new calls: it is closed when the last one has ended."""
        self.last_used = 0.0
        self.borrowed = 0
        """Calls that the fast lane makes on this session, beside `calls`."""
        self.header_lines: bytes | None = None
        """By which the server knows the session, once the fast lane has used it."""
        self.log_level: str | None = None
        """The one that was set with the server, which keeps it for the session."""

    @property
    def usable(self) -> bool:
        return not self.retired and self._task is not None and not self._task.done()

    @property
    def connected(self) -> Connected:
        assert self._connected is not None
        return self._connected.result()

    def borrow(self) -> None:
        """The session's id is used for a call that does not go through `request`."""
        self.borrowed += 1

    def give_back(self) -> None:
        self.borrowed -= 1
        self.last_used = time.monotonic()
        if self.retired and not self.calls and not self.borrowed:
            _end_later(self)

    async def open(self) -> None:
        """Connect. Raises BackendError."""
        loop = asyncio.get_running_loop()
        self._connected = loop.create_future()
        # An empty context: what the first caller has in its context must not follow the session around.
        self._task = loop.create_task(self._run(self._connected), context=contextvars.Context())
        self.last_used = loop.time()
        try:
            with waiting():
                await asyncio.shield(self._connected)
        except BaseException:
            await self.close()
            raise

    async def _run(self, connected: "asyncio.Future[Connected]") -> None:
        try:
            async with self._opener() as opened:
                if not connected.done():
                    connected.set_result(opened)
                await self._closing.wait()
        except BackendError as error:
            if not connected.done():
                connected.set_exception(error)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the end of a session, whatever it was, is its callers' news
            logger.debug("backend session ended: %s", type(error).__name__)
        finally:
            self.retired = True
            if not connected.done():
                connected.set_exception(BackendError(_GONE, executed=False))
            with contextlib.suppress(asyncio.CancelledError, BackendError):
                connected.exception()  # retrieved, in case that nobody waits any more

    async def close(self) -> None:
        """End the session: politely for `CLOSE_SECONDS`, then by force."""
        self.retired = True
        self._closing.set()
        task = self._task
        if task is None or task.done():
            return
        if self._connected is None or not self._connected.done():
            task.cancel()
        await asyncio.wait([task], timeout=CLOSE_SECONDS)
        await cancel([task])

    async def request(self, method: str, params: dict[str, Any], call: Call) -> dict[str, Any]:
        """Send one request and return its result as the server sent it.

        Raises:
            MCPError: the server answered with a JSON-RPC error; it is the caller's to have.
            BackendError: there was no proper answer.
        """
        attempt = Attempt()
        with asking(method, params, attempt, self._version, self._attributes, self._secrets) as asked:
            asked.result = result = await self._requested(method, params, call, attempt)
            return result

    def _version(self) -> str:
        return self.connected.protocol_version

    def _attributes(self) -> Attributes:
        return self._peer(self.connected.session_id) if self._peer is not None else {}

    async def _requested(self, method: str, params: dict[str, Any], call: Call, attempt: Attempt) -> dict[str, Any]:
        tokens = current_attempt.set(attempt), current_call.set(call)
        self.calls.append(call)
        began = time.perf_counter()
        draft = CURRENT.get()
        if draft is not None:
            draft.ask(self.server, method, params, self._secrets())
        try:
            async with call.deadline.running():
                result = await self._send(method, params, call, attempt)
                check_whole(method, result)
                if draft is not None:
                    draft.answer(result)
                return result
        except (MCPError, ValidationError, TimeoutError, OSError, RuntimeError) as error:
            failure = self._failure(error, attempt)
            if draft is not None and isinstance(failure, MCPError):
                draft.fail(failure.error.model_dump(mode="json", by_alias=True, exclude_none=True))
            raise failure from error
        finally:
            self.calls.remove(call)
            if self.retired and not self.calls and not self.borrowed:
                _end_later(self)
            self.last_used = asyncio.get_running_loop().time()
            current_attempt.reset(tokens[0])
            current_call.reset(tokens[1])
            # What came over a stream of the session, as with HTTP+SSE, was no part of the attempt's own exchanges.
            own = self.connected.transport != "sse"
            waited(attempt.waited if own else time.perf_counter() - began)

    async def _send(self, method: str, params: dict[str, Any], call: Call, attempt: Attempt) -> dict[str, Any]:
        session = self.connected.session
        wire = (_TaskRequest if method in TASK_METHODS else _Request)(method=method, params=params)
        request = session.send_request(wire, RAW, progress_callback=call.on_progress)
        if self.connected.transport != "sse":
            result: dict[str, Any] = await request
            return result
        # Over HTTP+SSE a failed POST is never answered on the stream: end the wait when it is noted.
        loop = asyncio.get_running_loop()
        failed: asyncio.Future[None] = loop.create_future()
        attempt.on_failure = lambda: None if failed.done() else failed.set_result(None)
        sending: asyncio.Task[dict[str, Any]] = loop.create_task(request)
        try:
            both: set[asyncio.Future[Any]] = {sending, failed}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise MCPError(CONNECTION_CLOSED, "Connection closed")
            return sending.result()
        finally:
            failed.cancel()
            if not sending.done():
                sending.cancel()
                await asyncio.wait([sending])

    def _failure(self, error: Exception, attempt: Attempt) -> Exception:
        lost = attempt.session_lost or not self.usable
        if attempt.failure is None and self.connected.broken and isinstance(error, MCPError) and is_own_error(error):
            attempt.fail(self.connected.broken[0], executed=True)
        if attempt.failure is not None:
            if lost or self.connected.transport == "sse":
                self.retired = True
            report = classify(attempt.failure, secrets=self._secrets())
            return BackendError(
                report,
                executed=attempt.executed,
                session_lost=attempt.session_lost,
                challenge=challenge_of(attempt.failure),
            )
        if isinstance(error, MCPError) and not is_own_error(error):
            if self._speaks_another_era(error, attempt):
                self.retired = True
                return BackendError(classify(error, secrets=self._secrets()), executed=False, era_changed=True)
            return error
        # A server that did not answer in time may still hold the exchange open: use another session from now on.
        self.retired = True
        return BackendError(classify(error, secrets=self._secrets()))

    def _speaks_another_era(self, error: MCPError, attempt: Attempt) -> bool:
        """A refusal before dispatch, on a session that took the server's era over from an earlier one."""
        connected = self.connected
        refused = attempt.status is not None and 400 <= attempt.status < 500
        return connected.modern and not connected.negotiated and refused and error.code in _ERA_CODES


_ending: set["asyncio.Task[None]"] = set()


def _end_later(session: BackendSession) -> None:
    """Close a retired session without making its last caller wait."""
    spawn(session.close(), _ending, context=contextvars.Context())


_ERA_CODES: Final = frozenset({INVALID_REQUEST, METHOD_NOT_FOUND, UNSUPPORTED_PROTOCOL_VERSION, CONNECTION_CLOSED})
_GONE = ErrorReport(
    error_class="ConnectionReset", message="the session with the server ended while it was being opened"
)
