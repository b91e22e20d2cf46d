"""What every reconciler works with."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from mcp_operator.api import meta
from mcp_operator.compile import Compiled
from mcp_operator.conditions.notices import Notices
from mcp_operator.desired import HostingSettings
from mcp_operator.engine.keys import Key
from mcp_operator.kube.client import KubeClient
from mcp_operator.probe.prober import Prober
from mcp_operator.probe.replica import ReplicaState
from mcp_operator.probe.replicas import Replicas
from mcp_operator.reconcile.notices import NoticeBoard
from mcp_operator.reconcile.observed import is_heard
from mcp_operator.reconcile.status import StatusWriter
from mcp_operator.reconcile.swaps import Swaps
from mcp_operator.reconcile.world import World


@dataclass(slots=True)
class Context:
    """The rim of the reconcilers: the API, the probes, and what was compiled last."""

    kube: KubeClient
    world: World
    prober: Prober[Key]
    replicas: Replicas[Key]
    status: StatusWriter
    settings: HostingSettings
    enqueue: Callable[[Key], None]
    on_swap: Callable[[float], None]
    swaps: Swaps = field(default_factory=Swaps)
    files: Swaps = field(default_factory=lambda: Swaps(annotation=meta.ANNOTATION_FILES))
    compiled: dict[Key, Compiled] = field(default_factory=dict)
    _heard: dict[Key, Hashable] = field(default_factory=dict)
    notices: NoticeBoard = field(init=False)

    def __post_init__(self) -> None:
        self.notices = NoticeBoard(self.world.proxy_keys)

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
        self._enqueue_all(self.notices.note(proxy, notices, heard=is_heard(states)))
        if again or before != compiled or heard_before != heard:
            self.tell_routes(compiled)

    def tell_routes(self, compiled: Compiled) -> None:
        """Enqueue the routes that are attached to the proxy."""
        for route in compiled.route_problems:
            namespace, _, name = route.partition("/")
            self.enqueue(Key(meta.ROUTE.kind, namespace, name))

    def _enqueue_all(self, keys: Iterable[Key]) -> None:
        for key in sorted(keys):
            self.enqueue(key)

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a resource that is gone. Its children go by their owner reference."""
        self.prober.forget(key)
        self.files.forget(key)
        if key.kind == meta.PROXY.kind:
            self.replicas.forget(key)
            self.swaps.forget(key)
            self._heard.pop(key, None)
            gone = self.world.store.get(key) is None
            self._enqueue_all(self.notices.forget(key) if gone else self.notices.note(key, Notices(), heard=True))
            if (compiled := self.compiled.pop(key, None)) is not None:
                self.tell_routes(compiled)


def _heard_of(states: Mapping[str, ReplicaState]) -> Hashable:
    """What routes need to know of the replicas: whether one has answered, and which names are claimed twice."""
    answered = any(state.state != "unknown" for state in states.values())
    return (
        answered,
        frozenset(conflict for state in states.values() for conflict in state.conflicts),
        frozenset(name for state in states.values() for name in state.long_names),
    )
