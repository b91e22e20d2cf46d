"""One route's MCP endpoint: a FastMCP server, its HTTP sessions and its audience. It lives as long as the route's path.

Each path has sessions of its own, so a session of one route is unknown on another, and a removed route ends just its own.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

from fastmcp import FastMCP
from mcp.server.context import CallNext, HandlerResult
from mcp.server.request_state import RequestStateBoundary
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from mcp_operator_proxy import __version__, executions
from mcp_operator_proxy.auth import CALLER, PRINCIPAL, Principal
from mcp_operator_proxy.backends.relay import FrontContext
from mcp_operator_proxy.eras.elsewhere import handed_on
from mcp_operator_proxy.eras.exchange import principal_of
from mcp_operator_proxy.eras.parked import ParkingLot
from mcp_operator_proxy.eras.states import States
from mcp_operator_proxy.findtools import CALL, BadArguments, meant
from mcp_operator_proxy.front import FrontSession
from mcp_operator_proxy.fronts.channel import Channels
from mcp_operator_proxy.fronts.sse import SSEFront
from mcp_operator_proxy.listening import Listening
from mcp_operator_proxy.notify import Audience
from mcp_operator_proxy.provider import RouteProvider, RouteState
from mcp_operator_proxy.recording import CURRENT, SCOPE
from mcp_operator_proxy.refusals import RateLimited, Refused
from mcp_operator_proxy.sessions.elsewhere import Elsewhere
from mcp_operator_proxy.sessions.forward import HOP
from mcp_operator_proxy.sessions.holder import Holder
from mcp_operator_proxy.sessions.internal import missed
from mcp_operator_proxy.sessions.session import Session
from mcp_operator_proxy.sessions.table import SESSION_HEADER, SessionTable
from mcp_operator_proxy.table import Changes, Entry
from mcp_operator_proxy.tasktokens import TaskTokens
from mcp_operator_proxy.tracing.requests import Traced
from mcp_operator_proxy.usage import Status

_BLANKS: Final = (b" ", b"\t")
_VERSION_HEADER: Final = b"mcp-protocol-version"
_HANDSHAKE: Final = frozenset(version.encode() for version in HANDSHAKE_PROTOCOL_VERSIONS)

Observe = Callable[[str, str, float], None]
"""Called with method, outcome (`ok`, `tool_error`, `error`, `denied`) and seconds after each request."""


class Endpoint:
    """`start` it, use it as an ASGI app, `close` it. Between, `table` and `backend` of `route` may change at will."""

    def __init__(self, path: str, route: RouteState, observe: Observe, holder: Holder, name: str) -> None:
        self.path = path
        self.on_call: Callable[[Entry, Status, float], None] | None = None
        """Called after each call of a tool that there is, with how it ended and its seconds."""
        self.on_audit: Callable[[FrontContext, str, str, float], None] | None = None
        """Called with each request, the decision (`allowed`, `refused`, `limited`), its outcome and seconds."""
        self._observe = observe
        self.mcp: FastMCP[Any] = FastMCP(name, version=__version__, dereference_schemas=False)
        self.parked = ParkingLot(States(lambda: holder.keys), lambda: (holder.instance, holder.address))
        tokens = TaskTokens(lambda: holder.keys, path)
        self._provider = RouteProvider(self.mcp, route, self.parked, tokens)
        self.audience = Audience(self._has_stream)
        server = self.mcp._mcp_server  # noqa: SLF001
        # States of multi-round-trip requests are sealed by `eras.states`, with keys that replicas share.
        server.middleware[:] = [m for m in server.middleware if not isinstance(m, RequestStateBoundary)]
        self.traced = Traced(path)
        server.middleware[:0] = [partial(_meaning, route), self.traced, self._watch]
        self.listening = Listening(server, route, self.audience.bus, self.audience.updated, tokens)
        self.sessions = SessionTable(server, path, holder, self._opened)
        """Those that this process holds."""
        self._elsewhere = Elsewhere(self.sessions, path, holder)
        self.channels = Channels(server, holder)
        self.sse = SSEFront(path, self.channels, self._elsewhere.pass_on)
        self._holder = holder
        self._running = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"endpoint {self.path}")

    async def _run(self) -> None:
        async with self.sessions.running():
            self._running.set()
            await self._stopping.wait()
            await self.listening.close()
            await self.audience.close()
            await self.channels.close()

    async def close(self) -> None:
        """End all sessions: their streams end, and their ids are unknown from now on."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def end_streams(self) -> None:
        """End the standing streams and leave the requests in flight alone, for an orderly stop."""
        self.listening.end_streams()
        await self.audience.close()
        self.channels.drain()
        for session in self.sessions.all():
            session.transport.close_standalone_sse_stream()

    @property
    def open_sessions(self) -> int:
        return len(self.sessions) + len(self.channels)

    def front_sessions(self) -> list[FrontSession]:
        return [FrontSession.of(connection) for connection in self.audience.connections()]

    def swapped(self) -> None:
        """The table or the backends of the route may have changed."""
        self.listening.swapped()

    async def broadcast(self, changes: Changes) -> None:
        await self.audience.broadcast(changes)

    def tell_those(self, who: Callable[[Principal], bool], changes: Changes) -> None:
        """Tell the clients of some callers, and nobody else."""
        self.audience.tell_those(who, changes)
        self.listening.tell_those(who, changes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._running.wait()
        CALLER.set(scope.get(PRINCIPAL))
        if any(value.endswith(_BLANKS) for _, value in scope["headers"]):
            # RFC 9110, 5.5: blanks around a value are none of it; the HTTP parser leaves those behind it.
            scope["headers"] = [(key, value.strip(b" \t")) for key, value in scope["headers"]]
        version = session_id = None
        for key, value in scope["headers"]:
            if key == _VERSION_HEADER:
                version = value
            elif key == SESSION_HEADER:
                session_id = value.decode("latin-1")
        if version is not None and version not in _HANDSHAKE:
            here = await handed_on(self.parked, self._holder, scope, receive, send)
            if here is not None:
                await self.sessions.modern(scope, here, send)
        elif session_id is None:
            await self.sessions.open(scope, receive, send)
        else:
            await self._serve(session_id, scope, receive, send)

    async def _serve(self, session_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        session = self.sessions.find(session_id)
        if session is None or self._moves_on(session, scope):
            found = await self._elsewhere.session(session_id, scope, receive, send)
            if found is None:
                return
            session, receive = found
        if scope["method"] == "GET":
            if self._holder.draining:  # a stream lasts: it should find a better place
                await (missed() if HOP in scope else _ended_stream())(scope, receive, send)
                return
            send = self._announcing(session, send)
        await self.sessions.serve(session, scope, receive, send)

    def _moves_on(self, session: Session, scope: Scope) -> bool:
        """Whether this process should let go of a session before it ends itself: between two requests, none is lost."""
        return self._holder.draining and scope["method"] == "POST" and session.in_flight == 0

    def _announcing(self, session: Session, send: Send) -> Send:
        async def announce() -> None:
            while not session.has_stream:  # noqa: ASYNC110 - the stream's writer starts beside the response
                await asyncio.sleep(0)
            self.audience.stream_opened(session.id)

        async def watching(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.start" and message["status"] == 200:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await announce()

        return watching

    def _has_stream(self, session_id: str) -> bool:
        session = self.sessions.find(session_id)
        return session.has_stream if session is not None else self.channels.find(session_id) is not None

    def _opened(self, session: Session) -> None:
        self.audience.join(session.connection, session.principal)

    async def _watch(self, ctx: FrontContext, call_next: CallNext) -> HandlerResult:
        """Around every message: learn of new sessions, measure requests."""
        connection = ctx.session._connection  # noqa: SLF001
        principal = principal_of(ctx)
        CALLER.set(principal)
        if ctx.request is not None and (draft := ctx.request.scope.get(SCOPE)) is not None:
            CURRENT.set(draft)
        if ctx.request_id is None:
            if ctx.method == "notifications/initialized" and connection.session_id is not None:
                self.audience.join(connection, principal)
            return await call_next(ctx)
        execution = executions.begin()
        if ctx.request is not None:
            ctx.request.scope.update(mcp_method=ctx.method, mcp_name=_name(ctx), mcp_outcome="error")
            ctx.request.scope[executions.SCOPE] = execution
        started, outcome, decision = time.perf_counter(), "error", "allowed"
        status: Status = "error"
        try:
            result = await call_next(ctx)
        except (Refused, RateLimited) as error:
            decision, status = error.decision, executions.of_error(error)
            outcome = "denied" if isinstance(error, Refused) else "error"
            raise
        except BaseException as error:
            status = executions.of_error(error)
            raise
        else:
            outcome = "tool_error" if isinstance(result, dict) and result.get("isError") else "ok"
            status = executions.of_result(result)
            return result
        finally:
            if ctx.request is not None:
                ctx.request.scope["mcp_outcome"] = outcome
            seconds = time.perf_counter() - started
            status = execution.status = execution.status or status
            self._observe(ctx.method, outcome, seconds)
            if self.on_audit is not None:
                self.on_audit(ctx, decision, outcome, seconds)
            if execution.entry is not None and self.on_call is not None:
                self.on_call(execution.entry, status, seconds)


async def _meaning(route: RouteState, ctx: FrontContext, call_next: CallNext) -> HandlerResult:
    """Before all else: a call by `call_tool` is that of the tool that it names. What is wrong with one, its handler tells."""
    params = ctx.params
    if ctx.method == "tools/call" and params and params.get("name") == CALL and route.table().find_tools:
        with contextlib.suppress(BadArguments):
            ctx = replace(ctx, params=meant(params))
    return await call_next(ctx)


def _ended_stream() -> Response:
    """A standing stream that has ended already: the client opens another one, on another connection."""
    return Response(b"", 200, {"cache-control": "no-cache, no-transform", "connection": "close"}, "text/event-stream")


def _name(ctx: FrontContext) -> str | None:
    """What a request names: a tool, a prompt, a URI."""
    params = ctx.params or {}
    name = params.get("name", params.get("uri"))
    return name if isinstance(name, str) else None
