"""The proxy as an object: configurations in, MCP endpoints out.

    async with Proxy() as proxy:
        await proxy.apply(config, secrets={"token": "…"})
        app = App(proxy)          # an ASGI application

`apply` may be called at any time; see `apply` for what a swap promises.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Final, Self

from mcp_operator_proxy import __version__
from mcp_operator_proxy.access import AccessLog
from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.backends.metrics import ConnectionsCollector, GateCollector
from mcp_operator_proxy.backends.resolved import ResolvedServer
from mcp_operator_proxy.backends.status import users_report
from mcp_operator_proxy.cache import ResultCache
from mcp_operator_proxy.collector import Collector
from mcp_operator_proxy.config import NoticeType, ProxyConfig
from mcp_operator_proxy.egress import Egress
from mcp_operator_proxy.endpoint import Endpoint
from mcp_operator_proxy.eras.freshness import STALE, Freshness
from mcp_operator_proxy.eras.metrics import ParkedCollector
from mcp_operator_proxy.fastlane.lane import Lane
from mcp_operator_proxy.metrics import CacheCollector, Metrics
from mcp_operator_proxy.pinning.judge import Approval
from mcp_operator_proxy.pinning.watch import PinWatch, UnapprovedCollector
from mcp_operator_proxy.readiness import Readiness
from mcp_operator_proxy.report import RejectedConfig, ServerReport, StatusReport, UnapprovedTool
from mcp_operator_proxy.services.services import Services
from mcp_operator_proxy.services.users.identity import user_of
from mcp_operator_proxy.sessions.holder import Holder
from mcp_operator_proxy.state import RouteView, State
from mcp_operator_proxy.swap.build import TableBuilder
from mcp_operator_proxy.swap.history import History, Swap, applied
from mcp_operator_proxy.swap.pace import Pace, Turns
from mcp_operator_proxy.swap.prepared import Prepared, prepare
from mcp_operator_proxy.swap.validate import ConfigRejected, SecretMissing
from mcp_operator_proxy.table import Changes, Entry, RouteTable, changes
from mcp_operator_proxy.tasks import cancel, spawn
from mcp_operator_proxy.tls import CertificateCollector, Certificates
from mcp_operator_proxy.toolmetrics import ExecutionsCollector
from mcp_operator_proxy.usage import Status, Usage
from mcp_operator_proxy.workers.kept import Kept, known_in

logger = logging.getLogger(__name__)
WARM_SECONDS: Final = 0.75
LOOK_SECONDS: Final = 0.05
QUIET_LOOKS: Final = 20
"""So many looks in a row must find no call in flight before garbage is collected."""
REBUILD_SHARE: Final = 0.05
"""Of the time that goes by, at most this much of the processor is spent on tables when catalogues change one after the other."""
HOUSEKEEPING_SECONDS: Final = 60.0


class Proxy:
    """Use it as an async context manager: leaving it ends all sessions and closes all backends.

    `warm_seconds` is how long a swap waits for new servers at most. `holder` is what sets this process apart from others
    that serve the same sessions. `collector` is for one that has its process to itself. `access` gets a line for each
    request, where the configuration wants that; it is closed with the proxy. `certificates` are those of a listener with TLS:
    each configuration brings one. `name` is what clients see as the server's name. `egress` decides which addresses may be
    connected to for what a configuration names; None: all.
    """

    def __init__(
        self,
        *,
        warm_seconds: float = WARM_SECONDS,
        holder: Holder | None = None,
        collector: Collector | None = None,
        access: AccessLog | None = None,
        certificates: Certificates | None = None,
        name: str = "mcp-operator-proxy",
        egress: Egress | None = None,
    ) -> None:
        self.name = name
        self.certificates = certificates
        self.egress = egress
        self.usage = Usage()
        """Counts calls of tools; the full path and the fast lane record them."""
        self._warm_seconds = warm_seconds
        self._collector = collector
        self._builder = TableBuilder()
        self._turns = Turns()
        self._unstarted: dict[Backend, None] = {}
        self._retiring: set[Backend] = set()
        self._next_rebuild = 0.0
        self._collecting = False
        self.holder = holder or Holder()
        self.access = access
        self.state: State | None = None
        self.endpoints: Mapping[str, Endpoint] = {}
        self.draining = False
        self.readiness = Readiness()
        self.cache = ResultCache()
        self.kept: Kept | None = None
        """Of one of several workers: what was counted by those before it."""
        self.metrics = Metrics(self.status, lambda: {path: e.open_sessions for path, e in self.endpoints.items()})
        self.metrics.registry.register(
            GateCollector(lambda: {b.id: b.gate.report() for b in self.state.backends.values()} if self.state else {})
        )
        self.metrics.registry.register(ConnectionsCollector(self._connections))
        self.metrics.registry.register(
            ParkedCollector(lambda: {path: endpoint.parked.report() for path, endpoint in self.endpoints.items()})
        )
        self.metrics.registry.register(ExecutionsCollector(self.usage, lambda: self.state))
        self.metrics.registry.register(CacheCollector(self.cache.report))
        self.metrics.registry.register(CertificateCollector(lambda: certificates.current if certificates else None))
        self.metrics.registry.register(UnapprovedCollector(self.unapproved))
        self.services = Services(self)
        self._pins = PinWatch(self._notice)
        self.lane = Lane(self)
        self._prepared: Prepared | None = None
        """The configuration in use, with all its servers, as `prepare` made it."""
        self._rejected: RejectedConfig | None = None
        self._started_at = datetime.now(UTC)
        self._swapped_at: datetime | None = None
        self._swap_seconds: float | None = None
        self._swaps = 0
        self.history = History()
        """Of swaps, those refused too."""
        self._lock = asyncio.Lock()
        self._newest = 0
        self._moved = asyncio.Event()
        self._dirty: set[str] = set()
        self._background: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        spawn(self._housekeeping(), self._background)
        if self.holder.forwarder is not None:
            spawn(self.holder.forwarder.peers.follow(), self._background)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def started_at(self) -> datetime:
        return self._started_at

    def freshness(self, path: str, method: str) -> Freshness:
        """How long a client may use a list of a route, and whether it may share it."""
        return self.state.freshness(path, method) if self.state is not None else STALE

    # Swapping

    async def apply(self, config: ProxyConfig, secrets: Mapping[str, str] | None = None) -> bool:
        """Take a configuration into use; False where it is in use already or a newer one came in the meantime.

        New and changed servers are connected and listed first, all at once, waiting at most `warm_seconds`; unchanged
        ones are not touched. Then one assignment makes it the truth. Calls in flight end on the servers they began on.

        Raises:
            ConfigRejected: it cannot be used; what was in use stays.
        """
        self._newest += 1
        turn = self._newest
        async with self._lock:
            if turn != self._newest:
                return False
            started = time.perf_counter()
            try:
                prepared = await asyncio.to_thread(prepare, config, secrets or {}, self.certificates, self.egress)
            except SecretMissing:
                raise  # it may be on its way: the caller knows how long to wait
            except ConfigRejected as error:
                self.reject(config.revision, str(error))
                raise
            given, prepared = prepared, self._to_run(prepared)
            if self._in_use(prepared):
                self._prepared = given
                self._accepted()
                return False
            before = self.state.config if self.state is not None else None
            await self._swap(prepared, started + self._warm_seconds)
            self._prepared = given
            if self.certificates is not None and prepared.certificate is not None:
                self.certificates.use(prepared.certificate)
            self._swap_seconds = time.perf_counter() - started
            self._swapped_at = datetime.now(UTC)
            self._swaps += 1
            self.metrics.swaps.inc()
            self.metrics.swap_seconds.observe(self._swap_seconds)
            note = self._note(before, prepared.config, self._swapped_at, self._swap_seconds)
            spawn(note, self._background)
            logger.info(
                "configuration in use",
                extra={
                    "revision": config.revision,
                    "seconds": round(self._swap_seconds, 4),
                    "servers": len(config.servers),
                    "routes": len(config.routes),
                },
            )
            self._accepted()
            return True

    async def _note(self, before: ProxyConfig | None, after: ProxyConfig, at: datetime, seconds: float) -> None:
        """Keep what a swap has changed; with a thousand servers it takes longer than a call may be held up."""
        self.history.add(await asyncio.to_thread(applied, before, after, at, seconds))

    async def show_anew(self) -> None:
        """Take the configuration in use again, as servers are shown other credentials now, or others of them are to run."""
        async with self._lock:
            if self._prepared is None:
                return
            prepared = self._to_run(self._prepared)
            if not self._in_use(prepared):
                await self._swap(prepared, time.perf_counter() + self._warm_seconds)

    def _to_run(self, prepared: Prepared) -> Prepared:
        """With the credentials that its servers are shown now, and without those that are stopped."""
        return self.services.lifecycle.without_stopped(self.services.credentials.filled(prepared))

    def reject(self, revision: str | None, message: str) -> None:
        """Note that a configuration was refused; what is in use stays."""
        before = self._rejected
        if before is not None and (before.revision, before.message) == (revision, message):
            return
        self._rejected = RejectedConfig(revision=revision, message=message, at=datetime.now(UTC))
        self.history.add(Swap(revision, self._rejected.at, "rejected", message=message))
        self.metrics.rejected.inc()
        logger.error("configuration refused", extra={"revision": revision, "error": message})
        self._wake()

    def why_not_ready(self) -> str | None:
        """Why no client should be sent here, in words; None when it may get calls."""
        if self.draining:
            return "draining"
        state, rejected = self.state, self._rejected
        if state is None:
            return f"no configuration in use: {rejected.message}" if rejected else "no configuration yet"
        return self.readiness.problem(
            revision=state.config.revision,
            refused=rejected.revision if rejected else None,
            unheard=sum(not backend.asked.is_set() for backend in state.backends.values()),
        )

    @property
    def rejected(self) -> RejectedConfig | None:
        """The newest configuration, where it was refused."""
        return self._rejected

    def _accepted(self) -> None:
        self._rejected = None
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def _in_use(self, prepared: Prepared) -> bool:
        state = self.state
        return (
            state is not None
            and (self.certificates is None or self.certificates.current == prepared.certificate)
            and state.config == prepared.config
            and state.authenticator == prepared.authenticator
            and prepared.resolved == {**{k: b.resolved for k, b in state.backends.items()}, **state.personal}
            and prepared.stores == self.services.stores.settings
            and prepared.credentials == self.services.credentials.settings
            and prepared.search == self.services.registry.settings
            and prepared.webhook == self.services.notices.webhook
            and prepared.tracing == self.services.tracing.settings
            and self.holder.keys == (prepared.signing_keys or self.holder.own_keys)
        )

    async def _swap(self, prepared: Prepared, warm_until: float) -> None:
        config = prepared.config
        personal = prepared.personal
        resolved = {key: server for key, server in prepared.resolved.items() if key not in personal}
        before = self.state.backends if self.state else {}
        backends, fresh, updated = await self._backends(before, resolved)
        self._unstarted.update(dict.fromkeys(fresh))
        try:
            spawn(self._start(), self._background)
            await _warmed(fresh, warm_until - time.perf_counter())
            await self._builder.prepare(config, _catalogues(backends))
        except BaseException:
            await self._close(fresh)
            raise
        old = self.state  # a catalogue may have changed it meanwhile; only a swap changes the backends
        # From here to the assignment nothing waits: no request sees half of it.
        for backend, server in updated:
            backend.reconfigure(server)
        self.cache.drop({b.id for b, _ in updated} | {key for key, b in before.items() if backends.get(key) is not b})
        endpoints = self._endpoints(config)
        table = self._builder.build(config, _catalogues(backends))
        policy = old.policy if old is not None and old.policy == prepared.policy else prepared.policy
        self.state = State(
            config,
            table,
            MappingProxyType(backends),
            prepared.authenticator,
            policy,
            personal,
            prepared.personal_on(),
        )
        self.holder.keys, self.holder.limits = prepared.signing_keys or self.holder.own_keys, config.sessions
        self.services.use(prepared)
        dropped = {path: e for path, e in self.endpoints.items() if path not in endpoints}
        self.endpoints = MappingProxyType(endpoints)
        self._announce(old.table if old else {}, table)
        self._pins.retain(backends)
        for backend in backends.values():
            self._pins.look(backend)
        for path, endpoint in dropped.items():
            self.metrics.tallies.forget(path)
            spawn(endpoint.close(), self._background)
        kept = set(backends.values())
        if gone := [backend for backend in before.values() if backend not in kept]:
            self.retire(gone)
        elif fresh and not self._unstarted:
            self._at_rest()

    async def _backends(
        self, before: Mapping[str, Backend], resolved: Mapping[str, ResolvedServer]
    ) -> tuple[dict[str, Backend], list[Backend], list[tuple[Backend, ResolvedServer]]]:
        backends: dict[str, Backend] = {}
        fresh: list[Backend] = []
        updated: list[tuple[Backend, ResolvedServer]] = []
        pace = Pace()
        for key, server in resolved.items():
            await pace.turn()
            known = before.get(key)
            if known is not None and known.resolved.same_endpoint(server):
                if known.resolved != server:
                    updated.append((known, server))
                backends[key] = known
                continue
            catalogue = known.catalogue if known else None
            backend = self.new_backend(server, self._changed, catalogue)
            backends[key] = backend
            fresh.append(backend)
        return backends, fresh, updated

    def new_backend(
        self, server: ResolvedServer, on_change: Callable[[Backend], None], catalogue: Catalogue | None
    ) -> Backend:
        """One that waits for its start. What it tells of a user's instance is that user's."""
        on_end = self.services.processes.ended
        return Backend(server, on_change=on_change, catalogue=catalogue, turns=self._turns, on_end=on_end)

    async def _start(self) -> None:
        """Start the new backends one after the other, as fast as the calls that run beside them allow."""
        pace = Pace()
        while self._unstarted:
            backend = next(iter(self._unstarted))
            del self._unstarted[backend]
            backend.start()
            await pace.turn(sets_off_more=True)
        self._at_rest()

    async def _close(self, backends: Iterable[Backend]) -> None:
        pace = Pace()
        for backend in backends:
            self._unstarted.pop(backend, None)
            await backend.close()
            await pace.turn()

    def _at_rest(self, gone: int = 0) -> None:
        collector = self._collector
        if collector is None or self.state is None:
            return
        collector.settled(servers=len(self.state.backends), gone=gone)
        if collector.due and not self._collecting:
            self._collecting = True
            spawn(self._collect(collector), self._background)

    async def _collect(self, collector: Collector) -> None:
        """Collect garbage in a moment without calls."""
        quiet = 0
        while quiet < QUIET_LOOKS and not collector.overdue:
            await asyncio.sleep(LOOK_SECONDS)
            quiet = 0 if self._busy() else quiet + 1
        self._collecting = False
        collector.collect()

    def _busy(self) -> bool:
        state = self.state
        return len(self.lane) > 0 or (state is not None and any(b.gate.busy for b in state.backends.values()))

    def _endpoints(self, config: ProxyConfig) -> dict[str, Endpoint]:
        """An endpoint for each route; those of paths that stay are the same as before."""
        endpoints: dict[str, Endpoint] = {}
        for route in config.routes:
            endpoint = self.endpoints.get(route.path)
            if endpoint is None:
                endpoint = Endpoint(
                    route.path,
                    RouteView(self, route.path),
                    partial(self.metrics.observe, route.path),
                    self.holder,
                    self.name,
                )
                endpoint.on_call = self.record_call
                endpoint.traced.tracer = lambda: self.services.tracing.tracer
                endpoint.on_audit = partial(self.services.audit.add_request, route.path)
                endpoint.start()
            endpoints[route.path] = endpoint
        return endpoints

    def retire(self, backends: Sequence[Backend]) -> None:
        """Let go of backends: each is closed once its calls have ended."""
        self._retiring.update(backends)
        spawn(self._retire(backends), self._background)

    async def _retire(self, backends: Sequence[Backend]) -> None:
        """Close removed backends, each once its calls have ended, and the clients' sessions with them."""
        for backend in backends:
            self._unstarted.pop(backend, None)
        waiting = {asyncio.ensure_future(backend.drain()): backend for backend in backends}
        pace = Pace()
        try:
            while waiting:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                drained = [waiting.pop(task) for task in done]
                await self._forget(set(drained))
                for backend in drained:
                    await backend.close()
                    self._retiring.discard(backend)
                    await pace.turn()
        finally:
            await cancel(waiting)
        self._at_rest(len(backends))

    async def _forget(self, backends: set[Backend]) -> None:
        now = asyncio.get_running_loop().time()
        fronts = [front for endpoint in self.endpoints.values() for front in endpoint.front_sessions()]
        await asyncio.gather(*(front.forget(backends, now) for front in fronts))
        for backend in backends:
            await asyncio.gather(*(endpoint.parked.end_calls(backend.gate) for endpoint in self.endpoints.values()))

    def record_call(self, entry: Entry, status: Status, seconds: float) -> None:
        """A call of a tool that some route has is over."""
        self.usage.of(entry.server, entry.name).record(status, seconds, time.time())

    # Catalogues that change by themselves

    def _changed(self, backend: Backend) -> None:
        state = self.state
        if state is None or state.backends.get(backend.id) is not backend:
            return
        self.cache.drop({backend.id})
        if self._shows_unapproved(state, backend):
            self._show(state)  # not a moment later: a call may come before the rebuild
        self._pins.look(backend)
        if not self._dirty:
            spawn(self._rebuild(), self._background)
        self._dirty.add(backend.id)

    def _shows_unapproved(self, state: State, backend: Backend) -> bool:
        """Whether a tool is shown whose definition has become one that is not approved."""
        if backend.server.pinning != "enforce":
            return False
        approval = Approval(backend.server)
        withheld = {str(tool["name"]) for tool in backend.catalogue.tools if not approval.covers(tool)}
        shown = (entry for table in state.table.values() for entry in table.tools.values())
        return any(entry.server == backend.id and entry.name in withheld for entry in shown)

    def _notice(self, kind: NoticeType, subject: str, data: Mapping[str, str]) -> None:
        """Tell whoever the configuration names for that."""
        self.services.notices.tell(kind, subject, data)

    def told_metrics(self) -> bytes:
        """All metrics of this process, in the Prometheus text format. For a thread: there may be many."""
        if self.kept is None:
            return self.metrics.render()
        return self.kept.going_on(self.metrics.render, known_in(self.state))

    def _connections(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """With each server: in use, idle; of a server of users with each of its instances."""
        state = self.state
        if state is None:
            return
        for server, backend in state.backends.items():
            yield server, backend.connections()
            yield server, self.lane.connections(backend)
        for server in state.personal:
            yield server, (0, 0)
            for instance in self.services.users.instances.of(server):
                yield server, instance.connections()

    def unapproved(self) -> dict[str, tuple[UnapprovedTool, ...]]:
        """Tools whose definitions are not approved, of servers whose definitions are pinned, by server."""
        found = self.state.backends.values() if self.state else ()
        return {backend.id: backend.unapproved() for backend in found if backend.server.pinning != "off"}

    @property
    def stale(self) -> bool:
        """A catalogue has changed, and the table will show it in a moment."""
        return bool(self._dirty)

    async def caught_up(self) -> None:
        """Wait until the table shows what the catalogues say."""
        while self.stale:  # noqa: ASYNC110 - a few turns of the loop
            await asyncio.sleep(0.005)

    async def _rebuild(self) -> None:
        """Show what has changed, as soon as the share of the time allows it; the long part of it in turns."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._next_rebuild - loop.time()))
        try:
            if self.state is not None:
                await self._builder.prepare(self.state.config, _catalogues(self.state.backends))
        finally:
            self._dirty.clear()
        # From here nothing waits, so that what changes next is shown by the next one.
        state = self.state
        if state is None:
            return
        began = time.thread_time()  # what the machine does meanwhile for others is not spent on tables
        self._show(state)
        self._next_rebuild = loop.time() + (time.thread_time() - began) / REBUILD_SHARE

    def _show(self, state: State) -> None:
        """Have the tables say what the catalogues do. Nothing waits here."""
        table = self._builder.build(state.config, _catalogues(state.backends))
        self.state = replace(state, table=table)
        self.services.registry.moved()
        self._announce(state.table, table)

    def _announce(self, old: Mapping[str, RouteTable], new: Mapping[str, RouteTable]) -> None:
        for path, table in new.items():
            before, endpoint = old.get(path), self.endpoints.get(path)
            if endpoint is not None:
                endpoint.swapped()
            if before is None or endpoint is None or before is table:
                continue
            if difference := changes(before, table):
                spawn(endpoint.broadcast(difference), self._background)

        self.services.users.tables.swapped()

    def table(self, path: str, principal: Principal | None) -> RouteTable:
        """What the route at `path` shows to a caller; nothing where there is no such route."""
        return RouteView(self, path).table(principal)

    def table_with(self, path: str, own: Mapping[str, Catalogue]) -> RouteTable:
        """The table of a route for a user whose instances list `own`."""
        state = self.state
        assert state is not None
        return self._builder.with_own(state.config, path, _catalogues(state.backends), own)

    def tell_user(self, path: str, user: str, changes: Changes) -> None:
        """Tell the clients of a route that are this user's, and nobody else's."""
        state, endpoint = self.state, self.endpoints.get(path)
        if state is not None and endpoint is not None:
            users = state.config.users
            endpoint.tell_those(lambda principal: user_of(principal, users) == user, changes)

    # Reports

    def status(self) -> StatusReport:
        state = self.state
        return StatusReport(
            version=__version__,
            revision=state.config.revision if state else None,
            swapped_at=self._swapped_at,
            swap_seconds=self._swap_seconds,
            swaps=self._swaps,
            rejected=self._rejected,
            started_at=self._started_at,
            sessions=sum(endpoint.open_sessions for endpoint in self.endpoints.values()),
            servers=self._servers(state) if state else (),
            routes=tuple(table.report() for table in state.table.values()) if state else (),
            conflicts=tuple(c for table in state.table.values() for c in table.conflicts) if state else (),
            notices=self.services.notices.newest,
            long_names=tuple(n for table in state.table.values() for n in table.long_names) if state else (),
            search=self.services.registry.report(),
        )

    def server_reports(self) -> tuple[ServerReport, ...]:
        """Of all servers: those that run, those of which each user has an instance, those that are stopped."""
        return self._servers(self.state) if self.state is not None else ()

    def _servers(self, state: State) -> tuple[ServerReport, ...]:
        instances = self.services.users.instances
        return (
            *(backend.report() for backend in state.backends.values()),
            *(users_report(server, [b.report() for b in instances.of(server)]) for server in state.personal),
            *self._stopped(state),
        )

    def _stopped(self, state: State) -> Iterator[ServerReport]:
        if not (stopped := self.services.lifecycle.stopped):
            return
        for server in state.config.servers:
            if server.id in stopped and server.id not in state.backends and server.id not in state.personal:
                yield ServerReport(id=server.id, state="pending", stopped=True)

    async def wait_for(self, revision: str, seconds: float) -> StatusReport:
        """The status, as soon as `revision` is in use or refused, at the latest after `seconds`.

        A configuration so broken that its revision cannot be read counts when it is refused during the wait.
        """
        before = self._rejected
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._settled(revision, before):
                    await self._moved.wait()
        return await asyncio.to_thread(self.status)

    async def settled(self) -> None:
        """Wait until a first configuration is in use or refused."""
        while self.state is None and self._rejected is None:
            await self._moved.wait()

    def _settled(self, revision: str, before: RejectedConfig | None) -> bool:
        if self.state is not None and self.state.config.revision == revision:
            return True
        rejected = self._rejected
        return rejected is not None and (
            rejected.revision == revision or (rejected.revision is None and rejected is not before)
        )

    # Life

    async def _housekeeping(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            await self._forget(set())

    async def drain(self) -> None:
        """Turn unready and end the standing streams; requests in flight go on."""
        self.draining = self.holder.draining = True
        await asyncio.gather(*(endpoint.end_streams() for endpoint in self.endpoints.values()))
        if self.holder.forwarder is not None:
            await self.holder.forwarder.end_streams()

    async def close(self) -> None:
        self.draining = self.holder.draining = True
        await cancel(self._background)
        await asyncio.gather(*(endpoint.close() for endpoint in self.endpoints.values()))
        self.lane.close()
        backends = self._retiring | set(self.state.backends.values() if self.state else ())
        await asyncio.gather(*(backend.close() for backend in backends))
        if self.holder.forwarder is not None:
            await self.holder.forwarder.close()
        await self.services.close()
        if self.access is not None:
            await self.access.close()


async def _warmed(backends: Iterable[Backend], seconds: float) -> None:
    """Wait until all have answered or failed, at most so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            for backend in backends:
                await backend.asked.wait()


def _catalogues(backends: Mapping[str, Backend]) -> dict[str, Catalogue]:
    return {key: backend.catalogue for key, backend in backends.items()}
