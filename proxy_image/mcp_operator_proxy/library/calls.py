"""Calls from Python: a client in this process, on the same endpoint that remote clients use."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final

from mcp.client.client import Client
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_REQUEST, CallToolResult, Implementation, Request
from mcp_types.methods import is_input_required
from pydantic import ValidationError

from mcp_operator_proxy import __version__
from mcp_operator_proxy.backends.catalogue import RAW
from mcp_operator_proxy.library.errors import (
    CallError,
    CallRefused,
    CallTimeout,
    NotRunning,
    ServerDown,
    ToolFailed,
)
from mcp_operator_proxy.library.results import ToolCallResult
from mcp_operator_proxy.report import ErrorReport
from mcp_operator_proxy.tasks import cancel

ERA: Final = "2026-07-28"
"""Needs no session, so that calls are independent of each other."""


class Caller:
    """One client for all calls of this process, connected by the first one."""

    def __init__(self, server: Server[Any]) -> None:
        self._server = server
        self._client: asyncio.Future[Client] | None = None
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def call(
        self, name: str, arguments: Mapping[str, Any], *, server: str, seconds: float | None
    ) -> ToolCallResult:
        """Call the tool that is shown as `name`. Raises CallError."""
        client = await self._connected()
        params = {"name": name, "arguments": dict(arguments)}
        request = Request[dict[str, Any], str](method="tools/call", params=params)
        try:
            async with asyncio.timeout(seconds):
                raw = await client.session.send_request(request, RAW)
        except TimeoutError:
            raise CallTimeout(name, f"no answer within {seconds:g} s", server=server) from None
        except MCPError as error:
            raise _typed(name, server, error) from error
        if is_input_required(raw):
            raise CallRefused(name, INVALID_REQUEST, "the tool asks its user, and there is none", server=server)
        try:
            result = CallToolResult.model_validate(raw)
        except ValidationError:
            raise CallRefused(name, INVALID_REQUEST, "the server sent no proper result", server=server) from None
        answer = ToolCallResult(tuple(result.content), result.structured_content, dict(result.meta or {}))
        if result.is_error:
            raise ToolFailed(name, answer, server=server)
        return answer

    async def _connected(self) -> Client:
        if self._client is None:
            loop = asyncio.get_running_loop()
            self._client = loop.create_future()
            self._task = loop.create_task(self._hold(self._client), name="caller")
        return await asyncio.shield(self._client)

    async def _hold(self, connected: "asyncio.Future[Client]") -> None:
        """A client is left by the task that entered it."""
        info = Implementation(name="mcp-operator-proxy library", version=__version__)
        try:
            async with Client(self._server, mode=ERA, client_info=info, cache=None) as client:
                connected.set_result(client)
                await self._closing.wait()
        except Exception as error:  # noqa: BLE001 - whoever waits for the client gets it
            if not connected.done():
                connected.set_exception(error)
        finally:
            if not connected.done():
                connected.set_exception(NotRunning("the proxy is being closed"))
            with contextlib.suppress(asyncio.CancelledError, Exception):
                connected.exception()  # retrieved, in case that nobody waits

    async def close(self) -> None:
        self._closing.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=2)
            await cancel([self._task])


def _typed(name: str, server: str, error: MCPError) -> CallError:
    data = error.error.data
    kind = data.get("errorClass") if isinstance(data, Mapping) else None
    if kind is None or not isinstance(data, Mapping):
        return CallRefused(name, error.error.code, error.error.message, server=server)
    if kind == "Timeout":
        return CallTimeout(name, error.error.message, server=server)
    report = ErrorReport(error_class=kind, message=error.error.message)
    return ServerDown(name, report, server=server, executed=data.get("executed"))
