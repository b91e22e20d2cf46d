"""Which resources a change concerns: what the watch streams enqueue."""

from collections.abc import Iterable, Iterator
from typing import Final, cast

from mcp_operator.api import meta
from mcp_operator.api.resources import McpRoute
from mcp_operator.compile.lookup import DataId, DataKind
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import Change, Object
from mcp_operator.reconcile.world import World, is_managed

DATA_KINDS: Final = frozenset({"ConfigMap", "Secret"})
RESOURCE_KINDS: Final = frozenset(kind.kind for kind in meta.KINDS)


def affected(change: Change, world: World) -> Iterator[Key]:
    """Keys to reconcile after `change`; the same key may come more than once."""
    key = change.key
    if key.kind in RESOURCE_KINDS:
        yield key
        if key.kind == meta.SERVER.kind and says_something_new(change):
            yield from _served_by(world, change.old, change.new)
        if key.kind == meta.ROUTE.kind and says_something_new(change):
            yield from _named_by(change)
        if key.kind == meta.PROXY.kind and (change.old is None or change.new is None):
            yield from (
                Key(meta.ROUTE.kind, route.metadata.namespace, route.metadata.name)
                for route in world.routes(key.namespace)
            )
    elif key.kind == "Namespace":
        if says_something_new(change):
            yield from _parents(world.routes_out_of(key.name))
    elif key.kind == "Pod":
        yield from _labelled(change.new or change.old, key.namespace)
    else:
        yield from _owners(change)
        if key.kind in DATA_KINDS:
            yield from affected_by_data((cast("DataKind", key.kind), key.namespace, key.name), world)


def affected_by_data(reference: DataId, world: World) -> Iterator[Key]:
    """Keys to reconcile after a change of a Secret or ConfigMap."""
    for referrer in world.referrers(reference):
        yield referrer
        if referrer.kind == meta.SERVER.kind:
            yield from _served_by(world, world.store.get(referrer))


def says_something_new(change: Change) -> bool:
    """Whether more than the status changed: what decides selection and compilation."""
    if change.old is None or change.new is None:
        return True
    old, new = change.old["metadata"], change.new["metadata"]
    parts = ("uid", "generation", "labels", "deletionTimestamp")
    return any(old.get(part) != new.get(part) for part in parts) or _category(old) != _category(new)


def _category(metadata: Object) -> object:
    return (metadata.get("annotations") or {}).get(meta.CATEGORY_KEY)


def _served_by(world: World, *servers: Object | None) -> Iterator[Key]:
    """Proxies that serve a server, as it was or as it is."""
    for server in servers:
        if server is not None:
            yield from world.concerned(server)


def _named_by(change: Change) -> Iterator[Key]:
    """Proxies that a route names, as it was or as it is."""
    for route in (change.old, change.new):
        for parent in ((route or {}).get("spec") or {}).get("parentRefs") or ():
            yield Key(meta.PROXY.kind, change.key.namespace, parent["name"])


def _parents(routes: Iterable[McpRoute]) -> Iterator[Key]:
    for route in routes:
        for ref in route.spec.parent_refs:
            yield Key(meta.PROXY.kind, route.metadata.namespace, ref.name)


def _owners(change: Change) -> Iterator[Key]:
    for body in (change.old, change.new):
        if body is not None and is_managed(body):
            for owner in body["metadata"].get("ownerReferences") or ():
                if owner.get("controller") and owner.get("kind") in RESOURCE_KINDS:
                    yield Key(owner["kind"], change.key.namespace, owner["name"])


def _labelled(pod: Object | None, namespace: str) -> Iterator[Key]:
    labels = (pod or {}).get("metadata", {}).get("labels") or {}
    for label, kind in ((meta.LABEL_SERVER, meta.SERVER), (meta.LABEL_PROXY, meta.PROXY)):
        if label in labels:
            yield Key(kind.kind, namespace, labels[label])
