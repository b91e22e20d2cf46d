"""The operator's parts, wired: watch events and probes enqueue, workers reconcile."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from mcp_operator import watch
from mcp_operator.api import meta
from mcp_operator.app.metrics import OperatorMetrics
from mcp_operator.app.options import Options
from mcp_operator.app.peek import later_changes
from mcp_operator.compile.lookup import DataId
from mcp_operator.engine.audit import Audit, Later
from mcp_operator.engine.keys import Key
from mcp_operator.engine.queue import WorkQueue
from mcp_operator.engine.resync import Listed, Lister, Resync
from mcp_operator.engine.store import Change, Object, Store
from mcp_operator.engine.streams import Stream, Streams
from mcp_operator.engine.worker import Result, Running, run_workers
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.discovery import Discovery
from mcp_operator.kube.errors import ApiError, Forbidden, NotFound
from mcp_operator.kube.events import EventRecorder
from mcp_operator.kube.paths import object_path
from mcp_operator.probe.canaries import Canaries
from mcp_operator.probe.facts import ServerFacts
from mcp_operator.probe.prober import Prober
from mcp_operator.probe.replica import confirms
from mcp_operator.probe.replicas import Pace, Replicas
from mcp_operator.reconcile.affected import RESOURCE_KINDS, affected, affected_by_data, says_something_new
from mcp_operator.reconcile.context import Context
from mcp_operator.reconcile.datawatch import DataWatch
from mcp_operator.reconcile.dispatch import reconcile
from mcp_operator.reconcile.status import StatusWriter
from mcp_operator.reconcile.world import INDEXED_LABELS, LABELLED, World, slimmed

log = logging.getLogger(__name__)

RECONCILE_SECONDS: Final = 60.0
STUCK_SECONDS: Final = 2 * RECONCILE_SECONDS
"""A reconcile is cancelled after the first, and known to be stuck after the second."""
REPLICA_SECONDS: Final = 10.0
"""Between two looks at what a replica of a proxy says."""


class Operator:
    """One operator: use as `async with`, feed it with `observe`, run `work` and `resync`."""

    def __init__(self, options: Options, kube: KubeClient, metrics: OperatorMetrics) -> None:
        self._options = options
        self._kinds = watch.watched(clusterwide=not options.namespaces)
        self._kube = kube
        self._metrics = metrics
        self.store = Store(label_indexes=INDEXED_LABELS, labelled=LABELLED)
        self.queue = WorkQueue(metrics=metrics)
        self._world = World(self.store, kube, reads_namespaces=not options.namespaces)
        self.data_watch = DataWatch(
            kube, self._world.references, self._on_data_change, clusterwide=not options.namespaces
        )
        self._events = EventRecorder(kube, "mcp-operator", instance=options.identity)
        self._prober: Prober[Key] = Prober(
            self.queue.add,
            concurrency=options.probe_concurrency,
            on_result=metrics.probed,
            confirms=self._is_confirmed,
            confirm_seconds=REPLICA_SECONDS,
        )
        self._canaries: Canaries[Key] = Canaries(
            self.queue.add, concurrency=options.probe_concurrency, on_result=metrics.called
        )
        self._replicas: Replicas[Key] = Replicas(
            lambda key, _: self.queue.add(key), pace=Pace(interval=REPLICA_SECONDS)
        )
        self._context = Context(
            kube=kube,
            world=self._world,
            prober=self._prober,
            canaries=self._canaries,
            replicas=self._replicas,
            status=StatusWriter(kube, self.store, self._events),
            settings=options.hosting,
            enqueue=self.queue.add,
            on_swap=metrics.swapped,
            on_restart=metrics.restarted,
            discovery=Discovery(kube),
        )
        self.resync = Resync(
            self.store,
            self._listers(),
            partial(self._on_change, background=True),
            interval=options.resync_seconds,
            metrics=metrics,
        )
        self.streams = Streams(
            Stream(kind, namespace)
            for kind in self._kinds
            if kind not in watch.OPTIONAL  # there may be nothing to watch
            for namespace in options.namespaces or ("",)
        )
        self.audit = Audit(self.streams, self._peek, self._relist, patience=options.watch_patience_seconds)
        self._running = Running()
        self._listed: dict[str, str] = {}

    async def __aenter__(self) -> "Operator":
        await self._events.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        self.queue.shut_down(drain=False)
        await self._prober.aclose()
        await self._canaries.aclose()
        await self._replicas.aclose()
        await self._events.__aexit__(*error)

    def observe(self, kind: str, event: str | None, body: Mapping[str, Any]) -> None:
        """Take one watch event."""
        metadata = body["metadata"]
        self.streams.told(self._stream(kind, metadata.get("namespace")), metadata.get("resourceVersion"))
        if event == "DELETED":
            where = metadata.get("namespace") or ""
            change = self.store.remove(
                kind, where, metadata["name"], metadata.get("uid"), metadata.get("resourceVersion")
            )
        else:
            change = self.store.observe(kind, slimmed(body))
        if change is not None:
            self._on_change(change)

    async def work(self) -> None:
        """Reconcile, once every kind was listed, until cancelled."""
        await self.resync.synced.wait()
        log.info("synced: %d objects", len(self.store))
        await run_workers(
            self.queue,
            self._reconcile,
            count=self._options.workers,
            timeout=RECONCILE_SECONDS,
            expected=(ApiError,),
            metrics=self._metrics,
            running=self._running,
        )

    def stuck(self) -> str | None:
        """What does not go on although it could, in words; None while all is well."""
        longest = self._running.longest()
        if longest is not None and longest[1] > STUCK_SECONDS:
            return f"the reconcile of {longest[0]} does not end"
        return self.audit.problem

    def longest_reconcile(self) -> float:
        """Seconds since the oldest of the reconciles under way began."""
        longest = self._running.longest()
        return longest[1] if longest is not None else 0.0

    async def _reconcile(self, key: Key) -> Result:
        return await reconcile(self._context, key)

    def _on_change(self, change: Change, *, background: bool = False) -> None:
        if background and change.new is not None and self.resync.synced.is_set():
            stream = self._stream(change.key.kind, change.key.namespace)
            self.streams.owes(stream, change.new["metadata"].get("resourceVersion"))
        if change.key.kind in RESOURCE_KINDS and says_something_new(change):
            self._context.pace.edited()
            if change.key.kind == meta.ROUTE.kind:
                self._world.model(change.key)  # servers of other namespaces know of it before they are looked at
        ready = change.key.kind == "Pod" and _is_ready(change.old) != _is_ready(change.new)
        for key in affected(change, self._world):
            self.queue.add(key, background=background)
            if ready:
                self._prober.trigger(key)

    def _is_confirmed(self, key: Key, facts: ServerFacts) -> bool:
        """Whether a proxy that serves a server finds it as the operator's own probe has found it."""
        if key.kind != meta.SERVER.kind:
            return False
        server = f"{key.namespace}/{key.name}"
        reports = (self._replicas.reports(proxy, server) for proxy in self._context.sights.proxies(server))
        return any(confirms(report, facts) for told in reports for report in told)

    def _on_data_change(self, reference: DataId) -> None:
        log.debug("%s %s/%s changed", *reference)
        for key in affected_by_data(reference, self._world):
            self.queue.add(key)

    def _listers(self) -> dict[str, Lister]:
        return {kind: partial(self._list, kind) for kind in self._kinds}

    async def _list(self, kind: str) -> list[Listed]:
        """LIST a kind, where this operator watches. A namespace that refuses (it was deleted, and its Role with it) holds up no other."""
        parts: list[Listed] = []
        refused: list[Forbidden] = []
        for namespace in self._options.namespaces or (None,):
            try:
                listing = await self._kube.list(*_collection(kind, namespace))
            except NotFound:
                if kind not in watch.OPTIONAL:
                    raise
                parts.append(Listed((), "", namespace))
                continue
            except Forbidden as error:
                refused.append(error)
                continue
            self.streams.began(Stream(kind, namespace or ""), listing.resource_version)
            parts.append(Listed([slimmed(item) for item in listing.items], listing.resource_version, namespace))
        self._note_refused(kind, refused, some=bool(parts))
        self._listed[kind] = min(
            (part.resource_version for part in parts if part.resource_version), key=_age, default=""
        )
        return parts

    def _note_refused(self, kind: str, refused: list[Forbidden], *, some: bool) -> None:
        """Raises where every namespace refuses: then it is the operator's rights that are missing."""
        for error in refused:
            if not some:
                raise error
            log.warning("cannot list %s of one namespace, the others go on: %s", kind, error)
            self._metrics.resync_failed(kind)

    async def _relist(self, kind: str) -> str:
        await self.resync.once(kind)
        return self._listed[kind]

    async def _peek(self, stream: Stream, since: str) -> Later:
        path, selector = _collection(stream.kind, stream.namespace or None)
        return await later_changes(self._kube, path, since, selector)

    def _stream(self, kind: str, namespace: str | None) -> Stream:
        return Stream(kind, (namespace or "") if self._options.namespaces else "")


def _collection(kind: str, namespace: str | None) -> tuple[str, str | None]:
    """The path of what is watched of a kind, and the label selector."""
    group, version, plural = watch.watched(clusterwide=True)[kind]
    selector = watch.CHILD_SELECTOR if kind in watch.LABELLED else None
    return object_path(f"{group}/{version}" if group else version, plural, namespace), selector


def _age(resource_version: str) -> int:
    return int(resource_version) if resource_version.isdigit() else 0


def _is_ready(pod: Object | None) -> bool:
    listed = (pod or {}).get("status", {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in listed)
