"""One MCP server as the proxy knows it: its catalogue kept fresh in the background, its calls, its state.

Nothing here delays anybody else: the catalogue has a task of its own, and a call that meets a dead server fails alone.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex
from typing import Final

import httpx2
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
from mcp_operator_proxy.backends.check import ConnectionReport, check, check_host, explained
from mcp_operator_proxy.backends.classify import BackendError, backend_error, challenge_of, classify
from mcp_operator_proxy.backends.connect import Callbacks, Connected, Era, ResolvedTransport, connect
from mcp_operator_proxy.backends.counted import Counted
from mcp_operator_proxy.backends.gate import Gate
from mcp_operator_proxy.backends.http import Attempt, BackendTransport, current_attempt, http_client, timeouts
from mcp_operator_proxy.backends.lean.exchange import Unplain
from mcp_operator_proxy.backends.lean.session import LeanSession, StreamLost
from mcp_operator_proxy.backends.pool import SessionPool
from mcp_operator_proxy.backends.relay import PooledRelay
from mcp_operator_proxy.backends.resolved import ResolvedServer
from mcp_operator_proxy.backends.retry import SETTLED_SECONDS, pause, spread
from mcp_operator_proxy.backends.session import BackendSession
from mcp_operator_proxy.backends.status import Digested, Status, server_report
from mcp_operator_proxy.backends.stdio import CATALOGUE, OnEnd, StdioHost, on_behalf_of
from mcp_operator_proxy.backends.watching import ResourceWatch
from mcp_operator_proxy.config import Server
from mcp_operator_proxy.eras.capabilities import Capabilities
from mcp_operator_proxy.pinning.report import Judged
from mcp_operator_proxy.report import ErrorReport, ServerReport, UnapprovedTool
from mcp_operator_proxy.swap.pace import Turns
from mcp_operator_proxy.tasks import cancel
from mcp_operator_proxy.tracing import peers

logger = logging.getLogger(__name__)

RETRY_LEAST: Final = 0.5
REFRESH_LEAST: Final = 1.0
"""Seconds after which a server is listed again at the earliest because its lists are good for no longer."""
LIST_LEAST: Final = 0.1
"""Seconds between two listings."""
RETRY_MOST: Final = SETTLED_SECONDS
_LIST_CHANGED: Final = (ToolListChangedNotification, PromptListChangedNotification, ResourceListChangedNotification)


class Backend:
    """Start it in a running loop, `close` it in the end. `on_change` is called after the catalogue has changed, or what is told of it.

    `turns` are shared by backends of one event loop, so that what many servers answer at once is read in turns. `on_end` hears
    of ends of a stdio server's processes that nobody asked for.
    """

    changes = 0
    """Counts what may change how the server is reached: the four below."""
    resolved = Counted[ResolvedServer]()
    _uds = Counted[str | None]()
    _era = Counted["Era | None"]()
    _kind = Counted[ResolvedTransport | None]()

    def __init__(
        self,
        resolved: ResolvedServer,
        *,
        on_change: Callable[["Backend"], None],
        catalogue: Catalogue | None = None,
        turns: Turns | None = None,
        on_end: OnEnd | None = None,
    ) -> None:
        self.resolved = resolved
        self.catalogue = catalogue or Catalogue()
        self.status = Status()
        self.listed_at: float | None = None
        """When it was asked for the lists that it gave last, by the monotonic clock."""
        self.asked = asyncio.Event()
        """Set once the server has answered, or failed to, for the first time."""
        self._look: asyncio.Future[None] | None = None
        """Resolved when the attempt to list it that is under way has worked or failed."""
        self._on_change = on_change
        self._client: _Client | None = None
        self._lean: LeanSession | None = None
        self._turns = turns or Turns()
        self.host = _host(resolved, on_end)
        """The processes of a stdio server."""
        self._uds = None
        self._era = None
        self._shakes_hands = True
        self.asks_in_results: set[tuple[str, str]] = set()
        """Method and own name of what answers in the modern era only, as it asks in its results (SEP-2322)."""
        self._kind = None
        self._stale = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._lists = 0
        self._digested = Digested()
        self._judged = Judged()
        self.gate = Gate(resolved.server.max_concurrency, resolved.server.circuit_breaker)
        self._watches: dict[str | None, ResourceWatch] = {}
        self.pool = SessionPool(self._pooled_session)
        self.renew: Callable[[], Awaitable[bool]] | None = None
        """Called when the server refused its credential (401); whether it is shown another one now. None: there is none to renew."""

    @property
    def id(self) -> str:
        return self.resolved.server.id

    @property
    def server(self) -> Server:
        return self.resolved.server

    @property
    def modern(self) -> bool:
        """The server is known to speak the 2026-07-28 era."""
        return self._era is not None and self._era != "legacy"

    @property
    def era(self) -> Era | None:
        """What the server speaks, as far as that is known."""
        return self._era

    @property
    def stands_alone(self) -> bool:
        """A request for it says all that it needs. A process of a session or user is told by the URL whose it is, where no
        session does; and each request brings the token of a user's process."""
        return self.resolved.sealed is None and (not self.resolved.divided or not self.modern)

    @property
    def transport_kind(self) -> ResolvedTransport | None:
        """The transport that worked last; None before the first connection."""
        return self._kind

    @property
    def socket(self) -> str | None:
        """The unix socket by which a stdio server is reached now."""
        return self._uds

    @property
    def call_timeout(self) -> float:
        return self.resolved.server.call_timeout_seconds

    def secrets(self) -> tuple[str, ...]:
        headers = self.resolved.headers.values()
        tokens = (value.removeprefix("Bearer ") for value in headers if value.startswith("Bearer "))
        sealed = (self.resolved.sealed,) if self.resolved.sealed else ()
        return (*headers, *tokens, *sealed, *(self.host.secrets if self.host else ()))

    def connections(self) -> tuple[int, int]:
        """In use, idle; without those of the fast lane. From any thread."""
        client, lean = self._client, self._lean
        found = [client.transport.counts() if client else (0, 0), lean.counts() if lean else (0, 0)]
        return sum(used for used, _ in found), sum(idle for _, idle in found)

    @property
    def busy(self) -> bool:
        """Calls are in flight or wait, or somebody hears of its resources."""
        return self.gate.busy or any(not watch.idle for watch in self._watches.values())

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch(), name=f"backend {self.id}")

    def reconfigure(self, resolved: ResolvedServer) -> None:
        """Go on with other headers, times or pins for the same endpoint; sessions stay open."""
        told, before = self.unapproved(), self.server
        self.resolved = resolved
        if (resolved.server.pinning, resolved.server.pins) != (before.pinning, before.pins):
            self._judged.doubt(told, self.server, self.catalogue, known=self.status.ever_ready, now=time.monotonic())
        self.gate.configure(resolved.server.max_concurrency, resolved.server.circuit_breaker)
        if self._client is not None:
            self._client.transport.replace_headers(resolved.headers)
            self._client.transport.seal(resolved.sealed)
            self._client.http.timeout = timeouts(resolved.server.connect_timeout_seconds)
        if self._lean is not None:
            self._lean.aim(resolved.target())
        self.nudge()

    def nudge(self) -> None:
        """List the server again now, as it changed or seems unwell; `LIST_LEAST` after the last listing at the earliest."""
        self._stale.set()

    async def looked_for(self) -> None:
        """List a server now that has never been; return when it has answered.

        Raises:
            BackendError: the attempt failed, or took longer than its connect timeout.
        """
        self.nudge()
        look = self._look = self._look or asyncio.get_running_loop().create_future()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.resolved.server.connect_timeout_seconds):
                await asyncio.shield(look)
        if not self.status.ever_ready:
            raise BackendError(self.status.error or classify(TimeoutError()), executed=False)

    def _looked(self) -> None:
        self.asked.set()
        look, self._look = self._look, None
        if look is not None:
            look.set_result(None)

    # Sessions

    def _http(self) -> httpx2.AsyncClient:
        """The client library's connections to the server: made when they are first needed."""
        if self._client is None:
            server = self.resolved.server
            transport = BackendTransport(
                self.resolved.headers,
                server.ca_bundle,
                http2=server.http2,
                uds=self._uds,
                identity=self.resolved.identity,
                egress=self.resolved.egress,
            )
            transport.seal(self.resolved.sealed)
            transport.on_stream_end = self._stream_ended
            self._client = _Client(transport, http_client(transport, server.connect_timeout_seconds))
        return self._client.http

    @contextlib.asynccontextmanager
    async def open(
        self, callbacks: Callbacks, *, handshake: bool = False, caller: str = CATALOGUE
    ) -> AsyncIterator[Connected]:
        """Connect with what is known of the server; when that has become untrue, find out anew.

        `caller` is as in `ResolvedServer.target`. With `handshake` a server of both eras gets a session of the older one,
        in which it may ask the client.
        """
        if self.resolved.waits:
            raise BackendError(_waiting(self.resolved), executed=False)
        if self.host is not None:
            await self._reach(self.host)
        async with contextlib.AsyncExitStack() as stack:
            if self.host is not None and caller != CATALOGUE:
                key = token_hex(16)
                stack.callback(self.host.leave, key)
                caller = f"{caller}&session={key}" if caller else f"session={key}"
            connected = await self._shake_hands(stack, callbacks) if handshake and self.may_shake_hands else None
            yield connected or await self._connect(stack, callbacks, caller)

    async def _connect(self, stack: contextlib.AsyncExitStack, callbacks: Callbacks, caller: str) -> Connected:
        target, era, kind = self.resolved.target(self._uds, caller), self._era, self._kind
        try:
            connected = await stack.enter_async_context(
                connect(target, http=self._http(), callbacks=callbacks, era=era, transport=kind)
            )
        except BackendError as error:
            if self.host is not None:
                era, before = self.host.era, era
                if era is None or era == before:
                    raise
            elif (era is None and kind is None) or error.report.error_class in _DOWN:
                raise
            else:
                era = kind = None
            connected = await stack.enter_async_context(
                connect(target, http=self._http(), callbacks=callbacks, era=era, transport=kind)
            )
        self._era, self._kind = connected.era, connected.transport
        if connected.modern:
            _announce_headers(connected, self.catalogue.tools)
        return connected

    async def _shake_hands(self, stack: contextlib.AsyncExitStack, callbacks: Callbacks) -> Connected | None:
        """A session of the handshake eras with a modern server; None where it has turned out to know none of them."""
        target = self.resolved.target(self._uds)
        try:
            return await stack.enter_async_context(
                connect(target, http=self._http(), callbacks=callbacks, era="legacy", transport=self._kind)
            )
        except BackendError as error:
            if error.report.error_class not in _NO_HANDSHAKE:
                raise
            self._shakes_hands = False
            return None

    async def _reach(self, host: StdioHost) -> None:
        """See to it that a stdio server is served. What its process speaks the bridge finds out."""
        if self._uds is None:
            try:
                uds = await host.start()
            except OSError as error:
                raise BackendError(ErrorReport(error_class="NotRunning", message=str(error)), executed=False) from error
            self._uds = uds
        self._era = host.era or self._era or "legacy"

    @property
    def may_shake_hands(self) -> bool:
        """A modern server that may speak the handshake eras too: nothing says so but the attempt.

        A process that speaks both is opened with the handshake anyway.
        """
        return self.modern and self._shakes_hands and not self.resolved.divided and self.host is None

    def session(self, callbacks: Callbacks, *, handshake: bool = False, principal: str | None = None) -> BackendSession:
        """A session that its owner opens and closes, on behalf of an authenticated caller."""
        caller = on_behalf_of(self.resolved.owner or principal)
        opener = partial(self.open, callbacks, handshake=handshake, caller=caller)
        return BackendSession(opener, self.secrets, self.id, partial(peers.server, self))

    def _pooled_session(self, key: Hashable) -> BackendSession:
        assert isinstance(key, Capabilities)
        relay = PooledRelay(key.as_declared())
        relay.session = session = self.session(relay.callbacks(), principal=key.owner)
        return session

    def watch(self, owner: str | None) -> ResourceWatch:
        """Where updates of resources are heard. `owner` tells apart whom a server with processes of their own serves."""
        key = owner if self.resolved.divided else None
        if key not in self._watches:
            for idle in [k for k, watch in self._watches.items() if watch.idle]:
                del self._watches[idle]
            self._watches[key] = ResourceWatch(partial(self.session, principal=key), lambda: self.call_timeout)
        return self._watches[key]

    def _stream_ended(self) -> None:
        self.nudge()
        self._poke()

    def _poke(self) -> None:
        for watch in self._watches.values():
            watch.poke()

    def forget_era(self) -> None:
        self._era = None
        self._shakes_hands = True
        self.asks_in_results.clear()
        self.pool.drop_idle()

    # The catalogue

    async def _watch(self) -> None:
        failures = 0
        lean = True
        while True:
            if self.resolved.waits:
                self._down(_waiting(self.resolved), self.status.error)
                self._stale.clear()
                await self._stale.wait()
                continue
            listed = self._lists
            try:
                async with self._lean_session() if lean and self._suits_lean() else self._session() as source:
                    await self._follow(source)
            except Exception as error:  # noqa: BLE001 - whatever a server sends, the watch goes on
                if self._lists > listed:  # the session had worked: it may just have been forgotten, so open another
                    failures, lean = 0, True
                    continue
                if isinstance(error, Unplain):
                    logger.debug("asking with the client library: %s", error, extra={"server": self.id})
                    lean = False
                    continue
                failures += 1
                await self._failed(error)
            wait = pause(self.resolved.server.retry, failures)
            least = min(wait, RETRY_LEAST)
            await asyncio.sleep(least)  # however often its callers fail meanwhile
            if self._look is None:
                self._stale.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait - least):
                    await self._stale.wait()

    def _suits_lean(self) -> bool:
        """It signs nothing, so it is not for the instance of a user with a server that has to be told so."""
        signs = self.resolved.identity is not None and self.resolved.owner is not None
        return not signs and (
            self.host is None and self._kind in (None, "streamable-http") and LeanSession.suits(self.resolved.target())
        )

    @contextlib.asynccontextmanager
    async def _lean_session(self) -> AsyncIterator[LeanSession]:
        """Raises BackendError, or Unplain where the client library's session has to be asked."""
        session = LeanSession(
            self.resolved.target(),
            self._era,
            turns=self._turns,
            on_change=self.nudge,
            on_stream_end=self._stream_ended,
        )
        try:
            await session.open()
            self._lean, self._era, self._kind = session, session.era, session.transport
            yield session
        finally:
            self._lean = None
            await session.close()

    def _session(self) -> contextlib.AbstractAsyncContextManager[Connected]:
        return self.open(Callbacks(message=self._on_message))

    async def _follow(self, connected: Connected | LeanSession) -> None:
        """List now, when the server says that it changed, when its stream breaks, and every `refresh_seconds`."""
        listening = asyncio.get_running_loop().create_task(self._listen(connected))
        self.status = replace(self.status, connected=True)
        try:
            while True:
                self._stale.clear()
                asked_at = time.monotonic()
                self._listed(connected, await self._list(connected), asked_at)
                self.listed_at = asked_at
                if listening.done():
                    listening = asyncio.get_running_loop().create_task(self._listen(connected))
                rest = asyncio.get_running_loop().time() + LIST_LEAST
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._refresh_seconds()):
                        await self._stale.wait()
                self._poke()
                # However many calls fail, or however often it says that it changed.
                await asyncio.sleep(max(0.0, rest - asyncio.get_running_loop().time()))
        finally:
            await cancel([listening])

    def _refresh_seconds(self) -> float:
        """As configured, or sooner where the server says that its lists are good for less; less a random part.

        Without that, servers that came together would be listed together for ever.
        """
        said = [fresh.ttl_ms / 1000 for fresh in self.catalogue.freshness.values() if fresh.ttl_ms > 0]
        return spread(min([self.resolved.server.refresh_seconds, *(max(seconds, REFRESH_LEAST) for seconds in said)]))

    async def _list(self, connected: Connected | LeanSession) -> Catalogue:
        attempt = Attempt()
        token = current_attempt.set(attempt)
        try:
            async with asyncio.timeout(max(self.resolved.server.connect_timeout_seconds, self.call_timeout)):
                return await list_catalogue(connected, self.catalogue)
        except Exception as error:
            if isinstance(connected, LeanSession) and not isinstance(error, TimeoutError):
                raise Unplain(type(error).__name__) from error
            report = classify(attempt.failure or error, secrets=self.secrets())
            raise BackendError(report, challenge=challenge_of(attempt.failure)) from error
        finally:
            current_attempt.reset(token)

    async def _listen(self, connected: Connected | LeanSession) -> None:
        """In the modern era changes are told on a `subscriptions/listen` stream."""
        if isinstance(connected, LeanSession):
            with contextlib.suppress(StreamLost):
                await connected.follow()
            await asyncio.sleep(RETRY_LEAST)
            self.nudge()
            return
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
        await asyncio.sleep(RETRY_LEAST)
        self.nudge()

    async def _on_message(self, message: IncomingMessage) -> None:
        if isinstance(message, _LIST_CHANGED):
            self.nudge()

    def _listed(self, connected: Connected | LeanSession, catalogue: Catalogue, asked_at: float) -> None:
        info, before, now = connected.server_info, self.status, datetime.now(UTC)
        if self.status.error is not None or not self.status.ever_ready:
            logger.info("server is up", extra={"server": self.id, "tools": len(catalogue.tools)})
            self.gate.retry_now()
        self._lists += 1
        back = before.ever_ready and before.error is not None
        self.status = Status(
            connected=True,
            ever_ready=True,
            protocol_version=connected.protocol_version,
            server_name=info.name if info else None,
            server_version=info.version if info else None,
            transport=connected.transport,
            checked_at=now,
            since=before.since if before.ever_ready and before.error is None else now,
            recoveries=before.recoveries + back,
            server_info=info,
            capabilities=connected.capabilities,
            instructions=connected.instructions,
        )
        judged = self._judged.listed(asked_at)
        if catalogue != self.catalogue:
            self.catalogue = catalogue
            if isinstance(connected, Connected) and connected.modern:
                _announce_headers(connected, catalogue.tools)
            self.pool.drop_idle()
            self._on_change(self)
        elif judged:
            self._on_change(self)
        self._looked()

    async def _failed(self, error: BaseException) -> None:
        error = backend_error(error)  # a session that breaks while it is used raises a group
        report, before = classify(error, secrets=self.secrets()), self.status.error
        challenged = isinstance(error, BackendError) and error.challenge is not None
        if challenged and before is not None and before.error_class == report.error_class:
            report = before  # it has been explained already
        if challenged and report is not before:
            self.status = replace(self.status, error=report, checked_at=datetime.now(UTC))
            report = await explained(self.resolved.target(self._uds), error)  # where to sign in is the news
        self._down(report, before)
        if challenged and self.renew is not None:
            await self.renew()

    def _down(self, report: ErrorReport, before: ErrorReport | None) -> None:
        if before != report:
            logger.warning(
                "server is down", extra={"server": self.id, "error_class": report.error_class, "error": report.message}
            )
        now = datetime.now(UTC)
        since = now if before is None else self.status.since
        self.status = replace(self.status, error=report, checked_at=now, since=since)
        self.pool.drop_idle()
        self._looked()

    @property
    def available(self) -> bool:
        """Its lists have been read, the last attempt to list it worked, and its circuit is not open."""
        return self.status.ever_ready and self.status.error is None and self.gate.circuit != "open"

    def report(self) -> ServerReport:
        # Whoever reaches the proxy may read this, and what a server writes to standard error is for its owner.
        process = self.host.report().model_copy(update={"stderr": ()}) if self.host else None
        gate = self.gate.report()
        return server_report(
            self.id,
            self.status,
            self.catalogue,
            gate,
            process,
            digested=self._digested,
            unapproved=self.unapproved(),
        )

    def unapproved(self) -> tuple[UnapprovedTool, ...]:
        """Its tools whose definitions are not approved, where they are pinned."""
        return self._judged.of(self.server, self.catalogue, known=self.status.ever_ready)

    async def test_connection(self) -> ConnectionReport:
        """Connect on connections of its own, as often as the server's `retry` says, each time within its connect timeout."""
        if self.host is not None:
            try:
                await self._reach(self.host)
            except BackendError as error:
                return ConnectionReport(error=error.report)
        target, retry = self.resolved.target(self._uds), self.resolved.server.retry
        return await (check(target, retry) if self.host is None else check_host(self.host, target, retry))

    # The end

    async def drain(self) -> None:
        """Wait until the calls in flight have ended, at most for the call timeout."""
        await self.gate.quiet(self.call_timeout)

    async def close(self) -> None:
        if self._task is not None:
            await cancel([self._task])
        await asyncio.gather(*(watch.close() for watch in self._watches.values()))
        await self.pool.close()
        if self._client is not None:
            await self._client.http.aclose()
        if self.host is not None:
            await self.host.stop()


@dataclass(frozen=True, slots=True)
class _Client:
    transport: BackendTransport
    http: httpx2.AsyncClient


def _host(resolved: ResolvedServer, on_end: OnEnd | None) -> StdioHost | None:
    server = resolved.server
    if server.stdio is None:
        return None
    open_seconds = resolved.target().connect_timeout
    return StdioHost(
        server.id,
        server.stdio,
        resolved.env,
        open_seconds=open_seconds,
        call_seconds=server.call_timeout_seconds,
        on_end=on_end,
        alone=resolved.owner is not None,
    )


def _waiting(resolved: ResolvedServer) -> ErrorReport:
    return ErrorReport(error_class="Unauthorized", message=resolved.waits)


_NO_HANDSHAKE: Final = frozenset({"NotFound", "HTTPError", "NotMCP", "ProtocolError"})
_DOWN: Final = frozenset({"DNSFailure", "ConnectionRefused", "Unreachable", "TLSFailure", "Unauthorized"})


def _announce_headers(connected: Connected, tools: tuple[JsonObject, ...]) -> None:
    """Tell the session which arguments a modern server wants mirrored into `Mcp-Param-*` headers (SEP-2243).

    The session learns it from a `tools/list` of its own, which a call must not cost.
    """
    for tool in tools:
        if header_map := x_mcp_header_map(tool.get("inputSchema", {})):
            connected.session._x_mcp_header_maps[str(tool["name"])] = header_map  # noqa: SLF001
