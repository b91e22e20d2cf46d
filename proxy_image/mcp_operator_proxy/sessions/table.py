"""The sessions of one route that this process holds: opened by `initialize` or taken up from a signed id, ended by
DELETE, by idleness, by age, or with the route.

It does the work of the SDK's StreamableHTTPSessionManager, which can neither choose a session's id nor begin one that
is initialized already.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import Context, copy_context
from typing import Any, Final

import pydantic_core
from mcp.server._streamable_http_modern import handle_modern_request
from mcp.server.connection import Connection
from mcp.server.lowlevel.server import Server
from mcp.server.runner import serve_connection
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.transport_context import TransportContext
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    ClientCapabilities,
    Implementation,
    InitializeRequestParams,
    JSONRPCRequest,
    jsonrpc_message_adapter,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION
from pydantic import ValidationError
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from mcp_operator_proxy.auth import PRINCIPAL, Principal, same_owner
from mcp_operator_proxy.sessions.holder import Holder
from mcp_operator_proxy.sessions.ids import Ticket, nonce
from mcp_operator_proxy.sessions.session import SECURITY, Session
from mcp_operator_proxy.tasks import cancel, spawn

logger = logging.getLogger(__name__)
SESSION_HEADER: Final = b"mcp-session-id"
SWEEP_SECONDS: Final = 30.0
MAX_ENDED: Final = 50_000
"""Sessions made elsewhere that ended here and are remembered, so that nobody takes them up again."""


class SessionTable:
    """Serves requests while `running`. `opened` is told of sessions that are initialized when they begin."""

    def __init__(
        self, server: "Server[Any]", path: str, holder: Holder, opened: Callable[[Session], None] | None = None
    ) -> None:
        self._server = server
        self._path = path
        self._holder = holder
        self._opened = opened
        self._sessions: dict[str, Session] = {}
        self._starting: dict[str, asyncio.Future[Session]] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lifespan_state: Any = None
        self._context: Context = Context()
        self._closing = False

    def __len__(self) -> int:
        return len(self._sessions)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self._context = copy_context()
        async with self._server.lifespan(self._server) as state:
            self._lifespan_state = state
            sweeping = asyncio.get_running_loop().create_task(self._keep_sweeping())
            try:
                yield
            finally:
                self._closing = True
                await cancel([sweeping])
                await asyncio.gather(*(self.end(session) for session in self.all()))
                await cancel(self._tasks)

    def find(self, session_id: str) -> Session | None:
        """The session of that id, where this process holds it. Whose it is, the caller compares."""
        return self._sessions.get(session_id)

    def all(self) -> list[Session]:
        return list(self._sessions.values())

    # Requests

    async def modern(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request of the 2026-07-28 era, which knows no sessions."""
        await handle_modern_request(self._server, SECURITY, False, self._lifespan_state, scope, receive, send)

    async def serve(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        """A request of a session held here; of anybody but its owner as if there were none."""
        if not same_owner(session.principal, scope.get(PRINCIPAL)):
            await NOT_FOUND(scope, receive, send)
            return
        session.enter()
        try:
            await session.transport.handle_request(scope, receive, send)
        finally:
            session.leave()
            if session.transport.is_terminated:  # by DELETE
                await self.end(session)

    async def open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request without a session: only `initialize` is answered well."""
        body = await read_body(receive) if scope["method"] == "POST" else b""
        client = _client(body) if scope["method"] == "POST" else MISSING_ID
        if isinstance(client, Response):
            await client(scope, receive, send)
            return
        requested = client.get("protocolVersion")
        version = requested if requested in HANDSHAKE_PROTOCOL_VERSIONS else LATEST_HANDSHAKE_VERSION
        principal: Principal | None = scope.get(PRINCIPAL)
        holder = self._holder
        said = {key: client[key] for key in ("clientInfo", "capabilities") if isinstance(client.get(key), dict)}
        ticket = Ticket(holder.instance, nonce(), self._path, holder.address, version, said, time.time())
        session = await self._admit(holder.keys.seal(ticket, principal), ticket, principal, taken_up=False)
        if session is None:
            await TOO_MANY(scope, receive, send)
            return
        session.enter()
        try:
            await session.transport.handle_request(scope, replaying(body, receive), send)
        finally:
            session.leave()
            if session.connection.client_params is None:  # refused or broken off: nothing was established
                await self.end(session)

    async def take_up(self, session_id: str, ticket: Ticket, principal: Principal | None) -> Session | None:
        """Begin a session that another process held, initialized as `ticket` says; None where there is no room."""
        held = self._sessions.get(session_id)
        if held is None and (starting := self._starting.get(session_id)) is not None:
            held = await asyncio.shield(starting)
        return held or await self._admit(session_id, ticket, principal, taken_up=True)

    # Life

    async def _admit(
        self, session_id: str, ticket: Ticket, principal: Principal | None, *, taken_up: bool
    ) -> Session | None:
        if self._closing or len(self._sessions) + len(self._starting) >= self._holder.limits.max_sessions:
            return None
        session = Session(session_id, ticket, principal)
        started = self._starting[session_id] = asyncio.get_running_loop().create_future()
        started.add_done_callback(lambda _: self._starting.pop(session_id, None))
        running, name = self._run(session, started, taken_up), f"session on {self._path}"
        session.task = spawn(running, self._tasks, name, self._context.copy())
        return await asyncio.shield(started)

    async def _run(self, session: Session, started: "asyncio.Future[Session]", taken_up: bool) -> None:
        try:
            async with session.transport.connect() as (read, write):
                dispatcher: JSONRPCDispatcher[TransportContext] = JSONRPCDispatcher(
                    read, write, inline_methods=frozenset({"initialize"})
                )
                session.connection = Connection.for_loop(dispatcher, session_id=session.id)
                if taken_up:
                    _initialize(session.connection, dispatcher, session.ticket)
                self._sessions[session.id] = session
                if taken_up and self._opened is not None:
                    self._opened(session)
                started.set_result(session)
                await serve_connection(
                    self._server, dispatcher, connection=session.connection, lifespan_state=self._lifespan_state
                )
        except Exception as error:
            if not started.done():
                started.set_exception(error)
            logger.exception("a session broke", extra={"path": self._path})
        finally:
            if not started.done():
                started.cancel()
            await self.end(session)

    async def end(self, session: Session) -> None:
        """Forget the session, then close its streams; its task and its connection end by that."""
        if self._sessions.pop(session.id, None) is not None:
            self.remember_ended(session.ticket)
        if not session.transport.is_terminated:
            await session.transport.terminate()

    def remember_ended(self, ticket: Ticket) -> None:
        """Of sessions made here it is known without: they are held, or they have ended."""
        if ticket.instance == self._holder.instance:
            return
        self._ended[ticket.nonce] = None
        while len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)

    def has_ended(self, ticket: Ticket) -> bool:
        """Whether a session that is not in the table was in it, as far as it is remembered."""
        return ticket.instance == self._holder.instance or ticket.nonce in self._ended

    async def _keep_sweeping(self) -> None:
        while True:
            await asyncio.sleep(min(self._holder.limits.idle_seconds / 4, SWEEP_SECONDS))
            await self.sweep()

    async def sweep(self) -> None:
        """End what has idled for too long or is too old."""
        idle = self._holder.limits.idle_seconds
        for session in [s for s in self._sessions.values() if s.over(idle)]:
            await self.end(session)


def _initialize(connection: Connection, dispatcher: "JSONRPCDispatcher[Any]", ticket: Ticket) -> None:
    """Put a new connection into the state that the handshake with another process had led to."""
    params = {
        "protocolVersion": ticket.protocol_version,
        "clientInfo": {"name": "", "version": ""},
        "capabilities": {},
        **ticket.client,
    }
    try:
        connection.client_params = InitializeRequestParams.model_validate(params, by_name=False)
    except ValidationError:
        connection.client_params = InitializeRequestParams(
            protocol_version=ticket.protocol_version,
            capabilities=ClientCapabilities(),
            client_info=Implementation(name="", version=""),
        )
    connection.protocol_version = ticket.protocol_version
    connection.initialized.set()
    # Ids of requests to the client must not repeat those that the process before has used in this session.
    dispatcher._next_id = secrets.randbelow(2**40) + 2**40  # noqa: SLF001


def _client(body: bytes) -> Mapping[str, Any] | Response:
    """The params of `initialize`, or the answer to whatever else came without a session id."""
    try:
        message = jsonrpc_message_adapter.validate_python(pydantic_core.from_json(body), by_name=False)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]["msg"]
        return rpc_error(400, INVALID_PARAMS, f"Validation error: {problem}")
    except ValueError as error:
        return rpc_error(400, PARSE_ERROR, f"Parse error: {error}")
    if isinstance(message, JSONRPCRequest) and message.method == "initialize":
        return message.params or {}
    return MISSING_ID


async def read_body(receive: Receive) -> bytes:
    """A body that has been measured and buffered in front."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def replaying(body: bytes, receive: Receive) -> Receive:
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay


def rpc_error(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """A JSON-RPC error for a request whose id is not known."""
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
    return Response(pydantic_core.to_json(body), status, headers, "application/json")


NOT_FOUND: Final = rpc_error(404, INVALID_REQUEST, "Session not found")
MISSING_ID: Final = rpc_error(400, INVALID_REQUEST, "Bad Request: Missing session ID")
TOO_MANY: Final = rpc_error(503, INTERNAL_ERROR, "Too many open sessions", {"retry-after": "1"})
