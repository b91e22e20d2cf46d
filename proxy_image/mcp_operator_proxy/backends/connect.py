"""Connect to an MCP server by URL: transport found out, protocol era negotiated, errors classified.

Used by the proxy for its backends and by the operator for its probes.

    async with connect(Target(url="http://127.0.0.1:8000/mcp")) as connected:
        print(connected.server_info, connected.protocol_version, connected.transport)
        tools = await connected.session.list_tools()
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import httpx2
from mcp.client._probe import negotiate_auto
from mcp.client.extension import NotificationBinding
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ClientCapabilities, DiscoverResult, Implementation, Request, ServerCapabilities
from pydantic import RootModel, TypeAdapter

from mcp_operator_proxy import __version__
from mcp_operator_proxy.backends.classify import BackendError, challenge_of, classify
from mcp_operator_proxy.backends.http import MAX_ANSWER, Attempt, BackendTransport, current_attempt, http_client
from mcp_operator_proxy.backends.sse import sse_client
from mcp_operator_proxy.config import Transport
from mcp_operator_proxy.egress import Egress

ResolvedTransport: TypeAlias = Literal["streamable-http", "sse"]
Era: TypeAlias = Literal["legacy"] | DiscoverResult
"""What is known of a server's protocol era: the handshake, or its discovery in the modern era (2026-07-28)."""

CLIENT_INFO: Final = Implementation(name="mcp-operator-proxy", version=__version__)
RAW: Final[TypeAdapter[Any]] = TypeAdapter(dict[str, Any])
"""Takes a result as the JSON object that it is; the session has validated it against the negotiated protocol version."""
_WORTH_SSE: Final = frozenset({"NotFound", "HTTPError", "NotMCP", "ProtocolError"})


@dataclass(frozen=True, kw_only=True)
class Target:
    """How to reach one MCP server. `headers` hold credentials, so they are not in its repr."""

    url: str
    transport: Transport = "auto"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_bundle: str | None = field(default=None, repr=False)
    http2: bool = False
    uds: str | None = None
    """Path of a unix socket that is connected to instead of the URL's host."""
    connect_timeout: float = 5.0
    max_answer: int = MAX_ANSWER
    """Bytes of one answer at most: a JSON body, or one event of a stream."""
    egress: Egress | None = None
    """Decides which addresses may be connected to; None: all."""

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(self.headers.values())

    def http_client(self) -> httpx2.AsyncClient:
        """A client for `connect`, with a connection pool of its own."""
        transport = BackendTransport(
            self.headers,
            self.ca_bundle,
            http2=self.http2,
            uds=self.uds,
            max_answer=self.max_answer,
            egress=self.egress,
        )
        return http_client(transport, self.connect_timeout)


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """Handlers of what the server asks or tells; those that are None are not declared as capabilities."""

    sampling: Any = None
    elicitation: Any = None
    roots: Any = None
    logging: Any = None
    message: Any = None
    tasks: Callable[[dict[str, Any]], Awaitable[None]] | None = None
    """Called with the params of `notifications/tasks` (SEP-2663)."""
    declared: ClientCapabilities | None = None
    """What the handlers can do, exactly; the library would declare all that exists."""


@dataclass(frozen=True, kw_only=True)
class Connected:
    """A session that has negotiated. `era` can be given to later connections to the same server."""

    session: ClientSession
    transport: ResolvedTransport
    era: Era
    negotiated: bool
    """The era was found out on this session, not taken over from an earlier one."""
    session_id: str | None = None
    """`Mcp-Session-Id`, where the server gave one."""
    broken: Sequence[Exception] = ()
    """Why the standing stream of HTTP+SSE broke, once it has."""

    @property
    def modern(self) -> bool:
        return self.era != "legacy"

    @property
    def protocol_version(self) -> str:
        return self.session.protocol_version or ""

    @property
    def server_info(self) -> Implementation | None:
        return self.session.server_info

    @property
    def instructions(self) -> str | None:
        """How it is to be used, in the server's words."""
        return self.session.instructions

    @property
    def capabilities(self) -> ServerCapabilities:
        return self.session.server_capabilities or ServerCapabilities()

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The result as the server sent it. Raises MCPError, and what else `ClientSession.send_request` does."""
        request = Request[dict[str, Any], str](method=method, params=dict(params))
        found: dict[str, Any] = await self.session.send_request(request, RAW)
        return found


@contextlib.asynccontextmanager
async def connect(
    target: Target,
    *,
    http: httpx2.AsyncClient | None = None,
    callbacks: Callbacks | None = None,
    era: Era | None = None,
    transport: ResolvedTransport | None = None,
) -> AsyncIterator[Connected]:
    """A connected session with the server at `target`.

    `http` shares a connection pool (from `http_client`), `era` and `transport` what an earlier connection found out.
    With `transport` auto, streamable HTTP is tried and then HTTP+SSE, as MCP's section on backwards compatibility says.

    Raises:
        BackendError: the server could not be reached within `connect_timeout` seconds, or does not speak MCP.
    """
    async with contextlib.AsyncExitStack() as stack:
        if http is None:
            http = await stack.enter_async_context(target.http_client())
        chosen = transport or (None if target.transport == "auto" else target.transport)
        first: BackendError | None = None
        for kind in (chosen,) if chosen else ("streamable-http", "sse"):
            opening = _open(target, http, kind, callbacks or Callbacks(), era)
            try:
                connected = await opening.__aenter__()
            except BackendError as error:
                if first is not None:
                    raise first from error
                if chosen or error.report.error_class not in _WORTH_SSE:
                    raise
                first = error
                continue
            stack.push_async_exit(opening.__aexit__)
            break
        yield connected


@contextlib.asynccontextmanager
async def _open(
    target: Target, http: httpx2.AsyncClient, kind: ResolvedTransport, callbacks: Callbacks, era: Era | None
) -> AsyncIterator[Connected]:
    attempt = Attempt()
    token = current_attempt.set(attempt)
    opened = False
    broken: list[Exception] = []
    try:
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.timeout(target.connect_timeout):
                if kind == "sse":
                    streams: Any = await stack.enter_async_context(
                        sse_client(target.url, http, max_event=target.max_answer, on_broken=broken.append)
                    )
                else:
                    streams = await stack.enter_async_context(
                        streamable_http_client(target.url, http_client=http, max_sse_event_size=target.max_answer)
                    )
                session = await stack.enter_async_context(_session(streams, callbacks))
                await _negotiate(session, era, target.connect_timeout)
            opened = True
            current_attempt.reset(token)
            yield Connected(
                session=session,
                transport=kind,
                era=session.discover_result or "legacy",
                negotiated=era is None,
                session_id=attempt.session_id,
                broken=broken,
            )
    except Exception as error:
        if opened or isinstance(error, BackendError):
            raise
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise asyncio.CancelledError from error  # a session that is cut off says so, and hides who did it
        report = classify(attempt.failure or error, secrets=target.secrets)
        raise BackendError(report, executed=False, challenge=challenge_of(attempt.failure)) from error
    finally:
        if not opened:
            current_attempt.reset(token)


class _Session(ClientSession):
    """Declares of elicitation, sampling, roots and extensions what `declared` says."""

    declared: ClientCapabilities | None = None

    def _build_capabilities(self, version: str) -> ClientCapabilities:
        built = super()._build_capabilities(version)
        if self.declared is None:
            return built
        exact = {
            kind: getattr(self.declared, kind)
            for kind in ("elicitation", "sampling", "roots")
            if getattr(built, kind) is not None
        }
        return built.model_copy(update={**exact, "extensions": self.declared.extensions})


class _Task(RootModel[dict[str, Any]]):
    """Of free shape: it is passed on."""


def _bindings(callbacks: Callbacks) -> list[NotificationBinding[Any]]:
    tasks = callbacks.tasks
    if tasks is None:
        return []
    return [NotificationBinding(method="notifications/tasks", params_type=_Task, handler=lambda task: tasks(task.root))]


def _session(streams: tuple[Any, Any], callbacks: Callbacks) -> ClientSession:
    session = _Session(
        *streams,
        client_info=CLIENT_INFO,
        sampling_callback=callbacks.sampling,
        elicitation_callback=callbacks.elicitation,
        list_roots_callback=callbacks.roots,
        logging_callback=callbacks.logging,
        message_handler=callbacks.message,
        notification_bindings=_bindings(callbacks),
    )
    session.declared = callbacks.declared
    return session


async def _negotiate(session: ClientSession, era: Era | None, connect_timeout: float) -> None:
    """Adopt a known era without a request, or discover it and fall back to the handshake.

    A server that leaves `server/discover` without an answer gets the handshake in the second half of the time.
    """
    if era == "legacy":
        await session.initialize()
    elif era is not None:
        session.adopt(era)
    else:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(connect_timeout / 2):
                await negotiate_auto(session)
                return
        await session.initialize()
