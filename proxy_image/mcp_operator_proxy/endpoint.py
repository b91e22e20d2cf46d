"""One route's MCP endpoint: a FastMCP server, its HTTP sessions and its audience. It lives as long as the route's path.

Each path has sessions of its own, so a session of one route is unknown on another, and a removed route ends just its own.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

from fastmcp import FastMCP
from mcp.server.context import CallNext, HandlerResult
from mcp.server.streamable_http import GET_STREAM_KEY, StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import SubscriptionsListenRequestParams
from starlette.types import Message, Receive, Scope, Send

from mcp_operator_proxy import __version__
from mcp_operator_proxy.backends.relay import FrontContext
from mcp_operator_proxy.front import FrontSession
from mcp_operator_proxy.notify import Audience
from mcp_operator_proxy.provider import RouteProvider, RouteState
from mcp_operator_proxy.table import Changes

SESSION_IDLE_SECONDS: Final = 30 * 60.0
MAX_SESSIONS: Final = 10_000
MAX_BODY: Final = 4 * 1024 * 1024
SESSION_HEADER: Final = b"mcp-session-id"

Observe = Callable[[str, str, float], None]
"""Called with method, outcome (`ok`, `tool_error`, `error`) and seconds after each request."""


class Endpoint:
    """`start` it, use it as an ASGI app, `close` it. Between, `table` and `backend` of `route` may change at will."""

    def __init__(self, path: str, route: RouteState, observe: Observe) -> None:
        self.path = path
        self._observe = observe
        self.mcp: FastMCP[Any] = FastMCP("mcp-operator-proxy", version=__version__, dereference_schemas=False)
        self._provider = RouteProvider(self.mcp, route)
        self.audience = Audience(self._has_stream)
        server = self.mcp._mcp_server  # noqa: SLF001
        server.middleware.insert(0, self._watch)
        server.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, self.audience.listen)
        self._manager = StreamableHTTPSessionManager(
            server,
            # Host and Origin are checked in front, for all paths and by the config's lists.
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            session_idle_timeout=SESSION_IDLE_SECONDS,
            max_sessions=MAX_SESSIONS,
            max_request_body_size=MAX_BODY,
        )
        self._running = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"endpoint {self.path}")

    async def _run(self) -> None:
        async with self._manager.run():
            self._running.set()
            await self._stopping.wait()
            await self.audience.close()
            for transport in self._transports():
                await transport.terminate()

    async def close(self) -> None:
        """End all sessions: their streams end, and their ids are unknown from now on."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def end_streams(self) -> None:
        """End the standing streams and leave the requests in flight alone, for an orderly stop."""
        await self.audience.close()
        for transport in self._transports():
            transport.close_standalone_sse_stream()

    @property
    def sessions(self) -> int:
        return len(self.audience)

    def front_sessions(self) -> list[FrontSession]:
        return [FrontSession.of(connection) for connection in self.audience.connections()]

    async def broadcast(self, changes: Changes) -> None:
        await self.audience.broadcast(changes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._running.wait()
        session_id = next((v.decode("latin-1") for k, v in scope["headers"] if k == SESSION_HEADER), None)
        if scope["method"] == "GET" and session_id is not None:
            send = self._announcing(session_id, send)
        await self._manager.handle_request(scope, receive, send)

    def _announcing(self, session_id: str, send: Send) -> Send:
        async def announce() -> None:
            while not self._has_stream(session_id):  # noqa: ASYNC110 - the stream's writer starts beside the response
                await asyncio.sleep(0)
            self.audience.stream_opened(session_id)

        async def watching(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.start" and message["status"] == 200:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await announce()

        return watching

    def _transports(self) -> list[StreamableHTTPServerTransport]:
        return list(self._manager._server_instances.values())  # noqa: SLF001

    def _has_stream(self, session_id: str) -> bool:
        transport = self._manager._server_instances.get(session_id)  # noqa: SLF001
        return transport is not None and GET_STREAM_KEY in transport._request_streams  # noqa: SLF001

    async def _watch(self, ctx: FrontContext, call_next: CallNext) -> HandlerResult:
        """Around every message: learn of new sessions, measure requests."""
        connection = ctx.session._connection  # noqa: SLF001
        if ctx.request_id is None:
            if ctx.method == "notifications/initialized" and connection.session_id is not None:
                self.audience.join(connection)
            return await call_next(ctx)
        if ctx.request is not None:
            ctx.request.scope["mcp_method"] = ctx.method
        started, outcome = time.perf_counter(), "error"
        try:
            result = await call_next(ctx)
            outcome = "tool_error" if isinstance(result, dict) and result.get("isError") else "ok"
            return result
        finally:
            self._observe(ctx.method, outcome, time.perf_counter() - started)
