"""The operator's parts, wired: watch events and probes enqueue, workers reconcile."""

import logging
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from mcp_operator import watch
from mcp_operator.app.metrics import OperatorMetrics
from mcp_operator.app.options import Options
from mcp_operator.engine.keys import Key
from mcp_operator.engine.queue import WorkQueue
from mcp_operator.engine.resync import Lister, Resync
from mcp_operator.engine.store import Change, Object, Store
from mcp_operator.engine.worker import Result, run_workers
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.errors import ApiError
from mcp_operator.kube.events import EventRecorder
from mcp_operator.kube.paths import object_path
from mcp_operator.probe.prober import Prober
from mcp_operator.probe.replicas import Pace, Replicas
from mcp_operator.reconcile.affected import affected
from mcp_operator.reconcile.context import Context
from mcp_operator.reconcile.dispatch import reconcile
from mcp_operator.reconcile.status import StatusWriter
from mcp_operator.reconcile.world import INDEXED_LABELS, World, slimmed

log = logging.getLogger(__name__)


class Operator:
    """One operator: use as `async with`, feed it with `observe`, run `work` and `resync`."""

    def __init__(self, options: Options, kube: KubeClient, metrics: OperatorMetrics) -> None:
        self._options = options
        self._kube = kube
        self._metrics = metrics
        self.store = Store(label_indexes=INDEXED_LABELS)
        self.queue = WorkQueue(metrics=metrics)
        self._world = World(self.store, kube)
        self._events = EventRecorder(kube, "mcp-operator", instance=options.identity)
        self._prober: Prober[Key] = Prober(
            self.queue.add, concurrency=options.probe_concurrency, on_result=metrics.probed
        )
        self._replicas: Replicas[Key] = Replicas(lambda key, _: self.queue.add(key), pace=Pace(interval=10.0))
        self._context = Context(
            kube=kube,
            world=self._world,
            prober=self._prober,
            replicas=self._replicas,
            status=StatusWriter(kube, self.store, self._events),
            settings=options.hosting,
            enqueue=self.queue.add,
            on_swap=metrics.swapped,
        )
        self.resync = Resync(
            self.store,
            self._listers(),
            partial(self._on_change, background=True),
            interval=options.resync_seconds,
            metrics=metrics,
        )

    async def __aenter__(self) -> "Operator":
        await self._events.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        self.queue.shut_down(drain=False)
        await self._prober.aclose()
        await self._replicas.aclose()
        await self._events.__aexit__(*error)

    def observe(self, kind: str, event: str | None, body: Mapping[str, Any]) -> None:
        """Take one watch event."""
        metadata = body["metadata"]
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
            self.queue, self._reconcile, count=self._options.workers, expected=(ApiError,), metrics=self._metrics
        )

    async def _reconcile(self, key: Key) -> Result:
        return await reconcile(self._context, key)

    def _on_change(self, change: Change, *, background: bool = False) -> None:
        ready = change.key.kind == "Pod" and _is_ready(change.old) != _is_ready(change.new)
        for key in affected(change, self._world):
            self.queue.add(key, background=background)
            if ready:
                self._prober.trigger(key)

    def _listers(self) -> dict[str, Lister]:
        return {kind: partial(self._list, kind) for kind in watch.WATCHED}

    async def _list(self, kind: str) -> tuple[Iterable[Mapping[str, Any]], str]:
        group, version, plural = watch.WATCHED[kind]
        api_version = f"{group}/{version}" if group else version
        selector = watch.CHILD_SELECTOR if kind in watch.LABELLED else None
        items: list[Mapping[str, Any]] = []
        as_of = ""
        for namespace in self._options.namespaces or (None,):
            listing = await self._kube.list(object_path(api_version, plural, namespace), selector)
            items += [slimmed(item) for item in listing.items]
            as_of = min(as_of, listing.resource_version, key=_age) if as_of else listing.resource_version
        return items, as_of


def _age(resource_version: str) -> int:
    return int(resource_version) if resource_version.isdigit() else 0


def _is_ready(pod: Object | None) -> bool:
    listed = (pod or {}).get("status", {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in listed)
