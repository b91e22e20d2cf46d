"""What every reconciler works with."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from mcp_operator.api import meta
from mcp_operator.api.resources import McpProxy, McpServer
from mcp_operator.compile import Compiled
from mcp_operator.conditions.notices import Notices
from mcp_operator.conditions.reasons import Reason, Type
from mcp_operator.conditions.server import Clients
from mcp_operator.desired import HostingSettings
from mcp_operator.engine.keys import Key
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.discovery import Discovery
from mcp_operator.probe.canaries import Canaries
from mcp_operator.probe.prober import Prober
from mcp_operator.probe.replica import ReplicaState
from mcp_operator.probe.replicas import Replicas
from mcp_operator.reconcile.noticed import Noticed
from mcp_operator.reconcile.notices import NoticeBoard
from mcp_operator.reconcile.observed import is_heard
from mcp_operator.reconcile.pace import Pace
from mcp_operator.reconcile.showing import Showing
from mcp_operator.reconcile.sights import News, Sights, sight
from mcp_operator.reconcile.status import StatusWriter
from mcp_operator.reconcile.swaps import Swaps
from mcp_operator.reconcile.world import World


@dataclass(slots=True)
class Context:
    """The rim of the reconcilers: the API, the probes, and what was compiled last."""

    kube: KubeClient
    world: World
    prober: Prober[Key]
    canaries: Canaries[Key]
    replicas: Replicas[Key]
    status: StatusWriter
    settings: HostingSettings
    enqueue: Callable[[Key], None]
    on_swap: Callable[[float], None]
    discovery: Discovery
    on_restart: Callable[[], None] = lambda: None
    swaps: Swaps = field(default_factory=Swaps)
    files: Swaps = field(default_factory=lambda: Swaps(annotation=meta.ANNOTATION_FILES))
    pace: Pace = field(default_factory=Pace)
    compiled: dict[Key, Compiled] = field(default_factory=dict)
    """What each proxy was last given."""
    compilations: dict[Key, tuple[Hashable, Compiled]] = field(default_factory=dict, repr=False)
    """What was last compiled for each proxy, and from what (`reconcile.compilation`)."""
    showing: dict[Key, Showing] = field(default_factory=dict)
    """What each proxy shows to clients."""
    sights: Sights = field(init=False)
    """What the replicas of all proxies say of each server."""
    _canaried: dict[str, str] = field(default_factory=dict)
    _until_known: set[Key] = field(default_factory=set)
    """Servers of which stands what was said before, until every proxy of theirs has been looked at."""
    _looked_at: set[Key] = field(default_factory=set)
    """Proxies that were compiled, or of which nothing is to be expected."""
    own_keys: dict[tuple[Key, str], bytes] = field(default_factory=dict, repr=False)
    """What the operator makes for each proxy, by the name of the secret file, as its Secret last held it."""
    _heard: dict[Key, Hashable] = field(default_factory=dict)
    notices: NoticeBoard = field(init=False)
    noticed: Noticed = field(default_factory=Noticed)

    def __post_init__(self) -> None:
        self.notices = NoticeBoard(self.world.proxies_of)
        self.sights = Sights(self._on_sight)

    def note_compiled(
        self,
        proxy: Key,
        compiled: Compiled,
        states: Mapping[str, ReplicaState],
        notices: Notices,
        *,
        again: bool = False,
    ) -> None:
        """Remember what `proxy` was given and has to tell, and have the routes and servers looked at that it concerns.

        That is when it was given something else, when its replicas tell of other conflicts, and with `again`.
        """
        before, heard_before = self.compiled.get(proxy), self._heard.get(proxy)
        self.compiled[proxy], heard = compiled, _heard_of(states)
        self._heard[proxy] = heard
        self._looked_at.add(proxy)
        self._enqueue_all(self.notices.note(proxy, notices, heard=is_heard(states)))
        servers = frozenset(server.id for server in compiled.config.servers)
        self.sights.note(proxy, sight(proxy, servers, states))
        self._show(proxy, Showing(compiled.config, states))
        self._tell_those_who_waited()
        if again or before != compiled or heard_before != heard:
            self.tell_routes(compiled)

    def _tell_those_who_waited(self) -> None:
        """Enqueue the servers of which stood what was said before, once every proxy of theirs has been looked at."""
        known = {server for server in self._until_known if self.knows_proxies_of(server)}
        self._until_known -= known
        self._enqueue_all(known)

    def tell_routes(self, compiled: Compiled) -> None:
        """Enqueue the routes that are attached to the proxy."""
        for route in compiled.route_problems:
            namespace, _, name = route.partition("/")
            self.enqueue(Key(meta.ROUTE.kind, namespace, name))

    def _enqueue_all(self, keys: Iterable[Key]) -> None:
        for key in sorted(keys):
            self.enqueue(key)

    def clients_of(self, server: McpServer) -> Clients:
        """What the replicas of the proxies that serve it say of `server`."""
        found = self.sights.of(server.id)
        key = _key(server.id)
        if self.knows_proxies_of(key):
            return found
        if _is_partly_reachable(server):
            self._until_known.add(key)
        return replace(found, waiting=True)

    def knows_proxies_of(self, server: Key) -> bool:
        """Whether every proxy in which the server has a say has been looked at since this process began."""
        return all(
            proxy in self._looked_at or not isinstance(self.world.model(proxy), McpProxy)
            for proxy in self.world.proxies_of(server)
        )

    def note_canary(self, server: Key, tool: str | None) -> None:
        """From now on have `server` looked at when what a proxy shows of its `tool` changes. None: it has no canary."""
        if tool is not None:
            self._canaried[_id(server)] = tool
            return
        self.canaries.forget(server)
        self._canaried.pop(_id(server), None)

    def _show(self, proxy: Key, now: Showing | None) -> None:
        before = self.showing.pop(proxy, None)
        if now is not None:
            self.showing[proxy] = now
        for server, tool in self._canaried.items():
            if (before and before.plan(server, tool)) != (now and now.plan(server, tool)):
                self.enqueue(_key(server))

    def _on_sight(self, server: str, news: News) -> None:
        """The operator's own view may be out of date where a replica fails, or reaches what it does not: it looks at once."""
        key = _key(server)
        health = self.prober.health(key)
        if news is News.FAILS:
            self.prober.doubt(key)
        elif news is News.DEFINITIONS or (
            health is not None and health.error is not None and self.sights.of(server).all_reach_it
        ):
            self.prober.trigger(key)
        if news is not News.MINOR or self._is_in_question(key):
            self.enqueue(key)

    def _is_in_question(self, server: Key) -> bool:
        """The operator does not reach it, or has last said that some replicas do not."""
        health = self.prober.health(server)
        if health is not None and health.healthy is False:
            return True
        found = self.world.model(server)
        return isinstance(found, McpServer) and _is_partly_reachable(found)

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a resource that is gone. Its children go by their owner reference."""
        self.prober.forget(key)
        self.files.forget(key)
        if key.kind == meta.SERVER.kind:
            self.note_canary(key, None)
        if key.kind == meta.PROXY.kind:
            self.replicas.forget(key)
            self.swaps.forget(key)
            self.pace.forget(key)
            self._heard.pop(key, None)
            for own in [own for own in self.own_keys if own[0] == key]:
                del self.own_keys[own]
            self.compilations.pop(key, None)
            gone = self.world.store.get(key) is None
            (self._looked_at.discard if gone else self._looked_at.add)(key)
            self._enqueue_all(self.notices.forget(key) if gone else self.notices.note(key, Notices(), heard=True))
            self.sights.forget(key)
            self._show(key, None)
            if (compiled := self.compiled.pop(key, None)) is not None:
                self.tell_routes(compiled)
            self._tell_those_who_waited()


def _is_partly_reachable(server: McpServer) -> bool:
    """Its status says so."""
    return any(c.type == Type.HEALTHY and c.reason == Reason.PARTLY_REACHABLE for c in server.status.conditions)


def _id(server: Key) -> str:
    return f"{server.namespace}/{server.name}"


def _key(server: str) -> Key:
    namespace, _, name = server.partition("/")
    return Key(meta.SERVER.kind, namespace, name)


def _heard_of(states: Mapping[str, ReplicaState]) -> Hashable:
    """What routes need to know of the replicas: whether one has answered, and which names are claimed twice."""
    answered = any(state.state != "unknown" for state in states.values())
    return (
        answered,
        frozenset(conflict for state in states.values() for conflict in state.conflicts),
        frozenset(name for state in states.values() for name in state.long_names),
    )
