"""One pass: from what is declared and what was observed to processes, configurations and statuses."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from operator import itemgetter
from typing import Final

from mcp_operator.api import meta
from mcp_operator.api.common import seconds
from mcp_operator.api.proxy import ProxyStatus
from mcp_operator.api.resources import McpProxy, McpRoute, McpServer, Resource
from mcp_operator.api.route import RouteStatus
from mcp_operator.api.server import ServerStatus
from mcp_operator.compile import Compiled, DataObjects, compile_proxy, with_previous
from mcp_operator.compile.references import resolve
from mcp_operator.compile.servers import unsupported
from mcp_operator.conditions.notices import Notices
from mcp_operator.conditions.reasons import Reason
from mcp_operator.conditions.route import Parent, route_status
from mcp_operator.conditions.server import invalid_status
from mcp_operator.engine.keys import Key
from mcp_operator.local.catalogue import Snapshot, with_identities
from mcp_operator.local.gateways import Gateways
from mcp_operator.local.hosting import Hosting
from mcp_operator.local.launch import CannotRun, Launch, launch
from mcp_operator.local.manifests import Diagnostic, Severity
from mcp_operator.local.pinning import LocalPins
from mcp_operator.local.status import body, refused_in_part, status_of_proxy, status_of_server
from mcp_operator.local.table import Endpoint, View, endpoints_of, row
from mcp_operator.probe.prober import Prober
from mcp_operator.probe.replicas import Replicas
from mcp_operator.probe.target import Target
from mcp_operator.reconcile.observed import health_view, key_headers, notices_view, parent_view, probe_target

REPLICA: Final = "local"
PROBE_INTERVAL: Final = 10.0
PROBE_THRESHOLD: Final = 2
_KINDS: Final = frozenset(kind.kind for kind in meta.KINDS)
Status = ServerStatus | ProxyStatus | RouteStatus


class World:
    """What the passes work on, and the statuses that they found."""

    def __init__(
        self,
        hosting: Hosting,
        gateways: Gateways,
        prober: Prober[Key],
        replicas: Replicas[Key],
        environment: Mapping[str, str],
    ) -> None:
        self._hosting = hosting
        self._gateways = gateways
        self._prober = prober
        self._replicas = replicas
        self._environment = environment
        self._statuses: dict[Key, Status] = {}
        self._compiled: dict[Key, Compiled] = {}
        self._given: dict[Key, Compiled] = {}
        """What the gateways run."""
        self._notices: dict[Key, Notices] = {}
        self._watched: set[Key] = set()
        self._ready: dict[Key, object] = {}
        self._pins = LocalPins()
        self._operator_key = secrets.token_hex(32).encode()
        """With what gateways that authenticate their callers are probed."""
        self._identity_key = secrets.token_hex(32).encode()
        """With what gateways vouch for users, to servers that have a process for each of them."""

    def step(self, snapshot: Snapshot, now: datetime) -> float | None:
        """Make the machine run what `snapshot` says and find out how things stand; in how many seconds to look again."""
        snapshot = with_identities(snapshot, self._identity_key)
        proxies = {key: proxy for key, proxy in snapshot.resources.items() if isinstance(proxy, McpProxy)}
        servers = {key: server for key, server in snapshot.resources.items() if isinstance(server, McpServer)}
        self._forget(snapshot)
        self._gateways.admit(proxies.keys())
        self._host(servers, snapshot.objects)
        for key, proxy in proxies.items():
            self._serve(key, proxy, snapshot)
        self._notices = {
            key: notices_view(proxy, self._compiled[key], self._replicas.states(key)) for key, proxy in proxies.items()
        }
        times = [self._judge_server(key, server, snapshot, now) for key, server in servers.items()]
        for key, proxy in proxies.items():
            self._judge_proxy(key, proxy, snapshot, now)
        for key, route in snapshot.resources.items():
            if isinstance(route, McpRoute):
                self._judge_route(key, route, snapshot, now)
        if all(self._settled(key, proxy) for key, proxy in proxies.items()):
            self._hosting.release()
        return min((time for time in times if time is not None), default=None)

    def view(self, snapshot: Snapshot) -> View:
        """What is to be shown of all this."""
        rows = [
            row(key, body(self._statuses[key]), resource.metadata.creation_timestamp)
            for key, resource in snapshot.resources.items()
        ]
        rows += [
            row(key, invalid_status(f"{why.place}: {why.message}", 1, datetime.now(UTC)), None)
            for key, why in snapshot.refused.items()
            if key.kind in _KINDS and key not in snapshot.resources
        ]
        return View(
            rows=tuple(sorted(rows, key=lambda r: r.key)),
            endpoints=tuple(self._endpoints(snapshot)),
            diagnostics=(*snapshot.diagnostics, *_hints(snapshot)),
        )

    # Running

    def _forget(self, snapshot: Snapshot) -> None:
        for key in self._statuses.keys() - snapshot.resources.keys():
            del self._statuses[key]
            self._compiled.pop(key, None)
            self._given.pop(key, None)
            self._pins.forget(key)
            self._unwatch(key)
            self._replicas.forget(key)

    def _host(self, servers: Mapping[Key, McpServer], objects: DataObjects) -> None:
        hosted: dict[Key, Launch | CannotRun] = {}
        for key, server in servers.items():
            if not server.spec.remote:
                hosted[key] = self._launch(server, objects)
        self._hosting.retain(hosted.keys())
        for key, wanted in hosted.items():
            self._hosting.want(key, wanted)

    def _launch(self, server: McpServer, objects: DataObjects) -> Launch | CannotRun:
        if problem := unsupported(server):
            return CannotRun(problem.reason, problem.message)
        try:
            wanted = launch(server, objects, self._environment)
        except CannotRun as reason:
            return reason
        assert wanted is not None
        if wanted.port in self._gateways.ports():
            return CannotRun(
                Reason.INVALID_VALUE,
                f"port {wanted.port} is the gateway's: set spec.container.port, or start with another --port",
            )
        return wanted

    def _serve(self, key: Key, proxy: McpProxy, snapshot: Snapshot) -> None:
        compiled = compile_proxy(
            in_plain_http(proxy),
            routes=snapshot.routes,
            servers=[self._as_known(server) for server in snapshot.servers],
            objects=snapshot.objects,
            url_of=self._url,
            namespace_labels=snapshot.labels.get(key.namespace, {}),
            operator_key=self._operator_key,
            logs_elsewhere=self._logs_elsewhere,
            inspected=self._gateways.has_inspector,
        )
        if compiled.held is not None and (given := self._given.get(key)) is not None:
            compiled = with_previous(proxy, compiled, given.config, given.secrets)
        self._compiled[key] = compiled
        if compiled.held is not None:
            return
        if proxy.spec.fixed_replicas == 0:
            self._gateways.pause(key)
            self._replicas.watch(key, None, {})
            self._unwatch(key)
            return
        self._given[key] = compiled
        self._gateways.serve(key, proxy, compiled)
        base = self._gateways.base_url(key)
        self._replicas.watch(key, compiled.config.revision, {REPLICA: base} if self._gateways.was_ready(key) else {})
        if any(state.state == "running" for state in self._replicas.states(key).values()):
            headers = key_headers(self._operator_key) if compiled.config.auth else {}
            target = Target(url=base + proxy.spec.path, transport="streamable-http", headers=headers)
            self._watch(key, target, PROBE_INTERVAL, PROBE_THRESHOLD, state=compiled.config.revision)

    def _as_known(self, server: McpServer) -> McpServer:
        """The server with its status: there the record of its definitions is."""
        return server.model_copy(update={"status": self._statuses.get(key_of(server)) or ServerStatus()})

    def _url(self, server: McpServer) -> str | None:
        return server.spec.remote.url if server.spec.remote else self._hosting.url(key_of(server))

    def _logs_elsewhere(self, server: McpServer) -> str:
        file = self._hosting.log(key_of(server))
        where = "on the terminal of mcp-operator local" if file is None else f"in the file {file}"
        return f"What it writes to standard error is {where}"

    def _settled(self, key: Key, proxy: McpProxy) -> bool:
        """Whether the proxy is known to use its newest configuration, or to use none at all."""
        standing = self._gateways.standing(key)
        if proxy.spec.fixed_replicas == 0 or standing is None or standing.phase != "ready":
            return True
        return any(state.state == "running" for state in self._replicas.states(key).values())

    # Judging

    def _judge_server(self, key: Key, server: McpServer, snapshot: Snapshot, now: datetime) -> float | None:
        server = self._as_known(server)
        resolved = resolve(server, snapshot.objects)
        url = self._url(server)
        if url is not None and not resolved.problems and (server.spec.remote or self._hosting.was_ready(key)):
            health = server.spec.health
            target = probe_target(url, server, resolved)
            self._watch(
                key,
                target,
                seconds(health.interval),
                health.failure_threshold,
                state=(url, self._hosting.ready(key)),
                success_threshold=health.success_threshold,
            )
        else:
            self._unwatch(key)
        found = health_view(self._prober.health(key))
        pins, renewed = self._pins.look(key, server, found, now)
        limit = server.spec.health.max_restarts
        decision = self._hosting.restarts(key, healthy=found.answers if found else None, limit=limit, now=now)
        status = status_of_server(
            server,
            resolved,
            programmed=None if server.spec.remote else self._hosting.verdict(key),
            url=url,
            health=found,
            restarts=decision.restarts,
            notices=[
                n
                for _, told in sorted(self._notices.items(), key=itemgetter(0))
                for n in told.servers.get(server.id, ())
            ],
            pins=pins,
            now=now,
        )
        self._keep(key, server, status, snapshot, now)
        return 0.0 if renewed else decision.again_after

    def _judge_proxy(self, key: Key, proxy: McpProxy, snapshot: Snapshot, now: datetime) -> None:
        proxy = proxy.model_copy(update={"status": self._statuses.get(key) or ProxyStatus()})
        status = status_of_proxy(
            proxy,
            self._compiled[key],
            url=self._gateways.base_url(key) + proxy.spec.path,
            standing=self._gateways.standing(key),
            states=self._replicas.states(key),
            health=health_view(self._prober.health(key)),
            notices=self._notices[key].proxy,
            now=now,
        )
        self._keep(key, proxy, status, snapshot, now)

    def _judge_route(self, key: Key, route: McpRoute, snapshot: Snapshot, now: datetime) -> None:
        route = route.model_copy(update={"status": self._statuses.get(key) or RouteStatus()})
        parents: dict[str, Parent | None] = {}
        for ref in route.spec.parent_refs:
            parent = Key(meta.PROXY.kind, key.namespace, ref.name)
            proxy = snapshot.resources.get(parent)
            if isinstance(proxy, McpProxy):
                proxy = proxy.model_copy(update={"status": self._statuses[parent]})
                states, told = self._replicas.states(parent), self._notices[parent]
                parents[ref.name] = parent_view(route, proxy, self._compiled[parent], states, told)
            else:
                parents[ref.name] = None
        self._keep(key, route, route_status(route, parents, now), snapshot, now)

    def _keep(self, key: Key, resource: Resource, status: Status, snapshot: Snapshot, now: datetime) -> None:
        why = snapshot.refused.get(key)
        self._statuses[key] = refused_in_part(status, resource.status.conditions, why, now) if why else status

    def _watch(
        self, key: Key, target: Target, interval: float, threshold: int, *, state: object, success_threshold: int = 1
    ) -> None:
        """Probe, and at once when `state` has changed: there is no sense in waiting for the interval then."""
        self._prober.watch(key, target, interval, threshold, success_threshold)
        if self._ready.get(key) != state:
            self._ready[key] = state
            self._prober.trigger(key)

    def _unwatch(self, key: Key) -> None:
        self._prober.forget(key)
        self._ready.pop(key, None)

    # Showing

    def _endpoints(self, snapshot: Snapshot) -> list[Endpoint]:
        proxies = snapshot.proxies
        qualified = len({proxy.metadata.name for proxy in proxies}) < len(proxies)
        found: list[Endpoint] = []
        for proxy in proxies:
            key = key_of(proxy)
            paths = [route.path for route in self._compiled[key].config.routes]
            base = self._gateways.base_url(key)
            keyed = proxy.spec.authentication is not None and proxy.spec.authentication.by_key_alone
            found += endpoints_of(key, base, proxy.spec.path, paths, qualified=qualified, keyed=keyed)
        return found


def key_of(resource: Resource) -> Key:
    return Key(resource.kind, resource.metadata.namespace, resource.metadata.name)


def in_plain_http(proxy: McpProxy) -> McpProxy:
    """The proxy without what only a cluster has: here it listens on this machine alone."""
    return proxy.model_copy(update={"spec": proxy.spec.model_copy(update={"tls": None})})


def _hints(snapshot: Snapshot) -> list[Diagnostic]:
    """What the whole lacks."""
    if not snapshot.resources and not snapshot.refused:
        return [Diagnostic("manifests", 0, "there is no McpServer, McpProxy or McpRoute yet", Severity.NOTE)]
    if not snapshot.proxies and not any(key.kind == meta.PROXY.kind for key in snapshot.refused):
        text = "there is no McpProxy: servers are run and probed, but nothing serves their tools; add an McpProxy"
        return [Diagnostic("manifests", 0, text, Severity.NOTE)]
    return []
