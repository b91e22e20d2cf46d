"""Calls from Python: a client in this process, on the same endpoint that remote clients use."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from mcp.client._transport import Transport
from mcp.client.client import Client
from mcp.server.lowlevel import Server
from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, CallToolResult, Implementation, Request
from mcp_types.methods import is_input_required
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from mcp_operator_proxy import __version__
from mcp_operator_proxy.backends.connect import RAW
from mcp_operator_proxy.backends.session import Deadline
from mcp_operator_proxy.fronts.channel import Channels, TooManyChannels
from mcp_operator_proxy.library.errors import (
    CallError,
    CallRefused,
    CallTimeout,
    NotRunning,
    ServerDown,
    ToolFailed,
)
from mcp_operator_proxy.library.handlers import Handlers
from mcp_operator_proxy.library.results import ToolCallResult
from mcp_operator_proxy.report import ErrorReport
from mcp_operator_proxy.tasks import cancel

ERA: Final = "2026-07-28"
"""Needs no session, so that calls are independent of each other."""
ASKED: Final = "legacy"
"""Where a handler can be asked: a server that speaks both eras may be able to ask in the handshake eras alone."""


class Caller:
    """Calls of this process, over one client for all that have the same handlers, connected by the first one."""

    def __init__(self, server: Server[Any], channels: Channels, handlers: Handlers) -> None:
        self._server = server
        self._channels = channels
        self._handlers = handlers
        self._shared: asyncio.Future[_Connected] | None = None
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._calls: dict[asyncio.Timeout, asyncio.Future[None]] = {}
        """Those under way: how each is ended, and what tells that it has."""

    async def call(
        self, name: str, arguments: Mapping[str, Any], *, server: str, seconds: float | None, handlers: Handlers
    ) -> ToolCallResult:
        """Call the tool that is shown as `name`; `handlers` go before those of all calls. Raises CallError, NotRunning."""
        handlers = handlers.over(self._handlers)
        call = _Call(name, _json(name, arguments), server, seconds, handlers.progress_handler)
        try:
            async with self._under_way():
                return await self._made(call, handlers)
        except (ToolFailed, CallTimeout):
            raise
        except (CallError, TimeoutError):
            if self._closing.is_set():
                raise NotRunning(f"{name}: the proxy was closed during the call; the tool may have run") from None
            raise

    @contextlib.asynccontextmanager
    async def _under_way(self) -> AsyncIterator[None]:
        """Raises TimeoutError when the proxy is closed."""
        ended = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(0 if self._closing.is_set() else None) as timeout:
            self._calls[timeout] = ended
            try:
                yield
            finally:
                del self._calls[timeout]
                ended.set_result(None)

    async def _made(self, call: "_Call", handlers: Handlers) -> ToolCallResult:
        try:
            if handlers.of_client_alone() == self._handlers.of_client_alone():
                return await call.over(await self._connected())
            return await self._alone(call, handlers)
        except TooManyChannels:
            why = "the proxy has as many sessions as it may"
            raise CallRefused(call.name, INTERNAL_ERROR, why, server=call.server) from None

    async def _alone(self, call: "_Call", handlers: Handlers) -> ToolCallResult:
        """Over a client of its own."""
        failed: CallError | None = None
        async with self._client(handlers) as connected:
            try:
                result = await call.over(connected)
            except CallError as error:  # the client's task group would make a group of it
                failed = error
        if failed is not None:
            raise failed
        return result

    @contextlib.asynccontextmanager
    async def _client(self, handlers: Handlers) -> "AsyncIterator[_Connected]":
        deadlines: set[Deadline] = set()
        info = Implementation(name="mcp-operator-proxy library", version=__version__)
        options = handlers.of_client(lambda: _paused(deadlines))
        async with contextlib.AsyncExitStack() as stack:
            server: Server[Any] | Transport = self._server
            if handlers.can_be_asked:
                server = (await stack.enter_async_context(self._channels.open(None, kind="library"))).transport()
            mode = ASKED if handlers.can_be_asked else ERA
            client = Client(server, mode=mode, client_info=info, cache=None, **options)
            yield _Connected(await stack.enter_async_context(client), deadlines)

    async def _connected(self) -> "_Connected":
        if self._shared is None:
            loop = asyncio.get_running_loop()
            self._shared = loop.create_future()
            self._task = loop.create_task(self._hold(self._shared), name="caller")
        return await asyncio.shield(self._shared)

    async def _hold(self, connected: "asyncio.Future[_Connected]") -> None:
        """A client is left by the task that entered it."""
        try:
            async with self._client(self._handlers) as client:
                connected.set_result(client)
                await self._closing.wait()
        except Exception as error:  # noqa: BLE001 - whoever waits for the client gets it
            if not connected.done():
                connected.set_exception(error)
        finally:
            self._shared = None  # the next call tries anew
            if not connected.done():
                connected.set_exception(NotRunning("the proxy is being closed"))
            with contextlib.suppress(asyncio.CancelledError, Exception):
                connected.exception()  # retrieved, in case that nobody waits

    async def close(self) -> None:
        """End the calls under way, as what they use is closed next, and then the client."""
        self._closing.set()
        ending = list(self._calls.values())
        for timeout in self._calls:
            if not timeout.expired():
                timeout.reschedule(0)
        if ending:
            await asyncio.wait(ending, timeout=2)
        if self._task is not None:
            await asyncio.wait([self._task], timeout=2)
            await cancel([self._task])


@dataclass(frozen=True)
class _Connected:
    client: Client
    deadlines: set[Deadline]
    """Of the calls that it makes. A question does not say which of them it belongs to: all stand still meanwhile."""


@contextlib.contextmanager
def _paused(deadlines: Iterable[Deadline]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for deadline in tuple(deadlines):
            stack.enter_context(deadline.paused())
        yield


@dataclass(frozen=True)
class _Call:
    name: str
    arguments: Mapping[str, Any]
    server: str
    seconds: float | None
    progress: ProgressFnT | None

    async def over(self, connected: _Connected) -> ToolCallResult:
        """The result. Raises CallError."""
        try:
            raw = await self._raw(connected)
        except TimeoutError:
            raise CallTimeout(self.name, f"no answer within {self.seconds:g} s", server=self.server) from None
        except MCPError as error:
            raise _typed(self.name, self.server, error) from error
        if is_input_required(raw):
            kinds = ", ".join({str(q.get("method")) for q in (raw.get("inputRequests") or {}).values()})
            self._refused(f"the tool asks its user ({kinds}), and there is none: give a handler")
        try:
            result = CallToolResult.model_validate(raw)
        except ValidationError:
            self._refused("the server sent no proper result")
        answer = ToolCallResult(tuple(result.content), result.structured_content, dict(result.meta or {}))
        if result.is_error:
            raise ToolFailed(self.name, answer, server=self.server)
        return answer

    async def _raw(self, connected: _Connected) -> dict[str, Any]:
        params: dict[str, Any] = {"name": self.name, "arguments": dict(self.arguments)}
        if self.progress is not None:
            params["_meta"] = {
                "progressToken": 0
            }  # that of a connection within the process only says that it is wanted
        request = Request[dict[str, Any], str](method="tools/call", params=params)
        deadline = Deadline(self.seconds) if self.seconds is not None else None
        if deadline is not None:
            connected.deadlines.add(deadline)
        try:
            async with deadline.running() if deadline is not None else contextlib.nullcontext():
                raw: dict[str, Any] = await connected.client.session.send_request(
                    request, RAW, progress_callback=self.progress
                )
                return raw
        finally:
            if deadline is not None:
                connected.deadlines.remove(deadline)

    def _refused(self, why: str) -> NoReturn:
        raise CallRefused(self.name, INVALID_REQUEST, why, server=self.server) from None


def _json(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = to_jsonable_python(dict(arguments))
    except (PydanticSerializationError, ValueError) as error:
        raise CallRefused(name, INVALID_PARAMS, f"the arguments can't be written as JSON: {error}") from None
    return plain


def _typed(name: str, server: str, error: MCPError) -> CallError:
    data = error.error.data
    kind = data.get("errorClass") if isinstance(data, Mapping) else None
    if kind is None or not isinstance(data, Mapping):
        return CallRefused(name, error.error.code, error.error.message, server=server)
    if kind == "Timeout":
        return CallTimeout(name, error.error.message, server=server)
    report = ErrorReport(error_class=kind, message=error.error.message)
    return ServerDown(name, report, server=server, executed=data.get("executed"))
