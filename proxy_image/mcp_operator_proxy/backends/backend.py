"""One MCP server as the proxy knows it: its catalogue kept fresh in the background, its calls, its state.

Nothing here delays anybody else: the catalogue has a task of its own, and a call that meets a dead server fails alone.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from mcp.client.session import IncomingMessage
from mcp.client.subscriptions import SubscriptionLost, listen
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import x_mcp_header_map
from mcp_types import (
    METHOD_NOT_FOUND,
    PromptListChangedNotification,
    ResourceListChangedNotification,
    ToolListChangedNotification,
)

from mcp_operator_proxy.backends.catalogue import Catalogue, JsonObject, list_catalogue
from mcp_operator_proxy.backends.classify import BackendError, classify
from mcp_operator_proxy.backends.connect import Callbacks, Connected, Era, ResolvedTransport, Target, connect
from mcp_operator_proxy.backends.gate import Gate
from mcp_operator_proxy.backends.http import Attempt, BackendTransport, current_attempt, http_client
from mcp_operator_proxy.backends.pool import IDLE_SECONDS, SessionPool
from mcp_operator_proxy.backends.relay import PooledRelay
from mcp_operator_proxy.backends.session import BackendSession
from mcp_operator_proxy.config import Server
from mcp_operator_proxy.eras.capabilities import Capabilities
from mcp_operator_proxy.report import ErrorReport, ServerReport
from mcp_operator_proxy.tasks import cancel

logger = logging.getLogger(__name__)

STDIO_URL: Final = "http://localhost/mcp"
RETRY_FIRST: Final = 0.5
RETRY_MOST: Final = 5.0
_LIST_CHANGED: Final = (ToolListChangedNotification, PromptListChangedNotification, ResourceListChangedNotification)


@dataclass(frozen=True)
class ResolvedServer:
    """A server of the config with its headers and environment filled in from the secrets."""

    server: Server
    headers: Mapping[str, str]
    env: Mapping[str, str] = field(default_factory=dict)

    def target(self, uds: str | None = None) -> Target:
        """How to reach it. A stdio server is reached through the unix socket `uds`, over streamable HTTP."""
        return Target(
            url=STDIO_URL if self.server.url is None else str(self.server.url),
            transport=self.server.transport if self.server.url is not None else "streamable-http",
            headers=self.headers,
            ca_bundle=self.server.ca_bundle,
            http2=self.server.http2,
            uds=uds,
            connect_timeout=self.server.connect_timeout_seconds,
        )

    def same_endpoint(self, other: "ResolvedServer") -> bool:
        """Whether only headers and times differ, so that open sessions can go on."""
        mine, theirs = self.server, other.server
        return (mine.url, mine.stdio, mine.transport, mine.ca_bundle, mine.http2, self.env) == (
            theirs.url,
            theirs.stdio,
            theirs.transport,
            theirs.ca_bundle,
            theirs.http2,
            other.env,
        )

    def __repr__(self) -> str:
        return f"ResolvedServer({self.server.id})"


@dataclass(frozen=True)
class Status:
    """What the last attempt to list the server found."""

    error: ErrorReport | None = None
    ever_ready: bool = False
    protocol_version: str | None = None
    server_name: str | None = None
    server_version: str | None = None
    transport: ResolvedTransport | None = None
    checked_at: datetime | None = None


class Backend:
    """Start it in a running loop, `close` it in the end. `on_change` is called after the catalogue has changed."""

    def __init__(
        self, resolved: ResolvedServer, *, on_change: Callable[["Backend"], None], catalogue: Catalogue | None = None
    ) -> None:
        self.resolved = resolved
        self.catalogue = catalogue or Catalogue()
        self.status = Status()
        self.asked = asyncio.Event()
        """Set once the server has answered, or failed to, for the first time."""
        self._on_change = on_change
        self._transport = BackendTransport(resolved.headers, resolved.server.ca_bundle, http2=resolved.server.http2)
        self._transport.on_stream_end = self.nudge
        self._http = http_client(self._transport, resolved.server.connect_timeout_seconds)
        self._uds: str | None = None
        self._era: Era | None = None
        self._kind: ResolvedTransport | None = None
        self._stale = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._lists = 0
        self.gate = Gate(resolved.server.max_concurrency, resolved.server.circuit_breaker)
        self.pool = SessionPool(self._pooled_session)

    @property
    def id(self) -> str:
        return self.resolved.server.id

    @property
    def modern(self) -> bool:
        """The server is known to speak the 2026-07-28 era."""
        return self._era is not None and self._era != "legacy"

    @property
    def call_timeout(self) -> float:
        return self.resolved.server.call_timeout_seconds

    def secrets(self) -> tuple[str, ...]:
        return tuple(self.resolved.headers.values())

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch(), name=f"backend {self.id}")

    def reconfigure(self, resolved: ResolvedServer) -> None:
        """Go on with other headers or times for the same endpoint; sessions stay open."""
        self.resolved = resolved
        self.gate.configure(resolved.server.max_concurrency, resolved.server.circuit_breaker)
        self._transport.replace_headers(resolved.headers)
        self.nudge()

    def nudge(self) -> None:
        """List the server again now."""
        self._stale.set()

    # Sessions

    @contextlib.asynccontextmanager
    async def open(self, callbacks: Callbacks) -> AsyncIterator[Connected]:
        """Connect with what is known of the server; when that has become untrue, find out anew."""
        target, era, kind = self.resolved.target(self._uds), self._era, self._kind
        async with contextlib.AsyncExitStack() as stack:
            try:
                connected = await stack.enter_async_context(
                    connect(target, http=self._http, callbacks=callbacks, era=era, transport=kind)
                )
            except BackendError as error:
                if (era is None and kind is None) or error.report.error_class in _DOWN:
                    raise
                connected = await stack.enter_async_context(connect(target, http=self._http, callbacks=callbacks))
            self._era, self._kind = connected.era, connected.transport
            if connected.modern:
                _announce_headers(connected, self.catalogue.tools)
            yield connected

    def session(self, callbacks: Callbacks) -> BackendSession:
        """A session that its owner opens and closes."""
        return BackendSession(lambda: self.open(callbacks), self.secrets)

    def _pooled_session(self, key: Hashable) -> BackendSession:
        assert isinstance(key, Capabilities)
        relay = PooledRelay(key.as_declared())
        relay.session = session = self.session(relay.callbacks())
        return session

    def forget_era(self) -> None:
        self._era = None
        self.pool.drop_idle()

    # The catalogue

    async def _watch(self) -> None:
        wait = RETRY_FIRST
        while True:
            listed = self._lists
            try:
                async with self.open(Callbacks(message=self._on_message)) as connected:
                    await self._follow(connected)
            except Exception as error:  # noqa: BLE001 - whatever a server sends, the watch goes on
                if self._lists > listed:  # the session had worked: it may just have been forgotten, so open another
                    wait = RETRY_FIRST
                    continue
                self._failed(classify(error, secrets=self.secrets()))
            await asyncio.sleep(RETRY_FIRST)  # however often its callers fail meanwhile
            self._stale.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait - RETRY_FIRST):
                    await self._stale.wait()
            wait = min(wait * 2, RETRY_MOST)

    async def _follow(self, connected: Connected) -> None:
        """List now, when the server says that it changed, when its stream breaks, and every `refresh_seconds`."""
        listening = asyncio.get_running_loop().create_task(self._listen(connected))
        try:
            while True:
                self._stale.clear()
                self._listed(connected, await self._list(connected))
                if listening.done():
                    listening = asyncio.get_running_loop().create_task(self._listen(connected))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.resolved.server.refresh_seconds):
                        await self._stale.wait()
                self.pool.drop_idle(IDLE_SECONDS)
        finally:
            await cancel([listening])

    async def _list(self, connected: Connected) -> Catalogue:
        attempt = Attempt()
        token = current_attempt.set(attempt)
        try:
            async with asyncio.timeout(max(self.resolved.server.connect_timeout_seconds, self.call_timeout)):
                return await list_catalogue(connected)
        except Exception as error:
            raise BackendError(classify(attempt.failure or error, secrets=self.secrets())) from error
        finally:
            current_attempt.reset(token)

    async def _listen(self, connected: Connected) -> None:
        """In the modern era changes are told on a `subscriptions/listen` stream."""
        wanted = connected.capabilities
        tools = bool(wanted.tools and wanted.tools.list_changed)
        prompts = bool(wanted.prompts and wanted.prompts.list_changed)
        resources = bool(wanted.resources and wanted.resources.list_changed)
        if not connected.modern or not (tools or prompts or resources):
            await asyncio.Event().wait()
        try:
            async with listen(
                connected.session,
                tools_list_changed=tools,
                prompts_list_changed=prompts,
                resources_list_changed=resources,
            ) as changes:
                async for _ in changes:
                    self.nudge()
        except MCPError as error:
            if error.code == METHOD_NOT_FOUND:
                await asyncio.Event().wait()
        except SubscriptionLost:
            pass
        await asyncio.sleep(RETRY_FIRST)
        self.nudge()

    async def _on_message(self, message: IncomingMessage) -> None:
        if isinstance(message, _LIST_CHANGED):
            self.nudge()

    def _listed(self, connected: Connected, catalogue: Catalogue) -> None:
        info = connected.server_info
        if self.status.error is not None or not self.status.ever_ready:
            logger.info("server is up", extra={"server": self.id, "tools": len(catalogue.tools)})
            self.gate.retry_now()
        self._lists += 1
        self.status = Status(
            ever_ready=True,
            protocol_version=connected.protocol_version,
            server_name=info.name if info else None,
            server_version=info.version if info else None,
            transport=connected.transport,
            checked_at=datetime.now(UTC),
        )
        changed = catalogue != self.catalogue
        self.catalogue = catalogue
        self.asked.set()
        if changed:
            if connected.modern:
                _announce_headers(connected, catalogue.tools)
            self.pool.drop_idle()
            self._on_change(self)

    def _failed(self, report: ErrorReport) -> None:
        if self.status.error != report:
            logger.warning(
                "server is down", extra={"server": self.id, "error_class": report.error_class, "error": report.message}
            )
        self.status = replace(self.status, error=report, checked_at=datetime.now(UTC))
        self.pool.drop_idle()
        self.asked.set()

    def report(self) -> ServerReport:
        status, catalogue = self.status, self.catalogue
        state = "error" if status.error else "ready" if status.ever_ready else "pending"
        return ServerReport(
            id=self.id,
            state=state,
            error=status.error,
            protocol_version=status.protocol_version,
            server_name=status.server_name,
            server_version=status.server_version,
            transport=status.transport,
            tools=tuple(sorted(str(tool["name"]) for tool in catalogue.tools)),
            prompts=len(catalogue.prompts),
            resources=len(catalogue.resources),
            resource_templates=len(catalogue.resource_templates),
            checked_at=status.checked_at,
        )

    # The end

    async def drain(self) -> None:
        """Wait until the calls in flight have ended, at most for the call timeout."""
        await self.gate.quiet(self.call_timeout)

    async def close(self) -> None:
        if self._task is not None:
            await cancel([self._task])
        await self.pool.close()
        await self._http.aclose()


_DOWN: Final = frozenset({"DNSFailure", "ConnectionRefused", "Unreachable", "TLSFailure", "Unauthorized"})


def _announce_headers(connected: Connected, tools: tuple[JsonObject, ...]) -> None:
    """Tell the session which arguments a modern server wants mirrored into `Mcp-Param-*` headers (SEP-2243).

    The session learns it from a `tools/list` of its own, which a call must not cost.
    """
    for tool in tools:
        if header_map := x_mcp_header_map(tool.get("inputSchema", {})):
            connected.session._x_mcp_header_maps[str(tool["name"])] = header_map  # noqa: SLF001
