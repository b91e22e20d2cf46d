"""The resources as the API server holds them, with their states, and which server is served where. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeVar

from mcp_operator.api import meta
from mcp_operator.api.common import Condition
from mcp_operator.api.resources import InvalidResource, McpProxy, McpRoute, McpServer, Resource, parse
from mcp_operator.compile.selection import Entry, select
from mcp_operator.engine.keys import Key
from mcp_operator.local.table import row

R = TypeVar("R", McpServer, McpProxy, McpRoute)
Object = Mapping[str, Any]
State = Literal["Ready", "NotReady", "Unknown", "Outdated", "Deleting"]

KINDS = tuple(kind.kind for kind in (meta.PROXY, meta.SERVER, meta.ROUTE))
"""In the order of their showing."""


@dataclass(frozen=True, slots=True)
class View:
    """One resource. `cells` are its printer columns; `model` is None where the body can't be read."""

    key: Key
    state: State
    reason: str
    message: str
    conditions: tuple[Condition, ...]
    cells: Mapping[str, str]
    created: datetime | None
    model: Resource | None = field(default=None, repr=False)

    @property
    def amiss(self) -> list[Condition]:
        """Conditions that say more than `Ready` does: those that do not hold, and why it is stalled or at work."""
        return [c for c in self.conditions if c.type != "Ready" and (c.status == "True") == (c.type in _ABNORMAL)]


_ABNORMAL = frozenset({"Reconciling", "Stalled"})
"""Conditions that are there only while something is not as it should be (kstatus)."""


@dataclass(frozen=True, slots=True)
class Served:
    """A server at a path: under which prefix, and which route brings it (None: the proxy's own selector)."""

    server: View
    prefix: str
    route: str | None


@dataclass(frozen=True, slots=True)
class Tree:
    """A proxy with its paths, the routes attached to it that are not ready, and what of its own selection was refused."""

    proxy: View
    paths: Mapping[str, Sequence[Served]]
    routes: Sequence[View]


@dataclass(frozen=True, slots=True)
class Overview:
    views: Sequence[View] = ()
    trees: Sequence[Tree] = ()
    unserved: Sequence[View] = ()
    """Servers that stand on no proxy."""
    unattached: Sequence[View] = ()
    """Routes whose proxies do not exist."""

    def of(self, kind: str) -> list[View]:
        return [view for view in self.views if view.key.kind == kind]

    @property
    def all_ready(self) -> bool:
        return all(view.state == "Ready" for view in self.views)


def overview(
    bodies: Iterable[Object],
    namespaces: Sequence[str] | None = None,
    labels: Mapping[str, Mapping[str, str]] | None = None,
) -> Overview:
    """The overview of the resources `bodies`; shown are those of `namespaces` (None: all).

    Others may still be needed: a route may serve what lives elsewhere. `labels` are those of namespaces, by their names,
    which a consent may ask for; None where they can't be read.
    """
    views = sorted((view(body) for body in bodies), key=lambda v: (KINDS.index(v.key.kind), v.key))
    shown = [v for v in views if namespaces is None or v.key.namespace in namespaces]
    by_key = {v.key: v for v in views}
    servers = [v.model for v in views if isinstance(v.model, McpServer)]
    routes = [v.model for v in views if isinstance(v.model, McpRoute)]
    trees = []
    for v in views:
        if isinstance(v.model, McpProxy):
            own = None if labels is None else labels.get(v.key.namespace, {})
            entries = select(v.model, routes, servers, namespace_labels=own).entries
            trees.append(_tree(v, v.model, entries, by_key, routes))
    served = {s.server.key for tree in trees for entries in tree.paths.values() for s in entries}
    proxies = {tree.proxy.key for tree in trees}
    return Overview(
        views=shown,
        trees=[tree for tree in trees if tree.proxy in shown],
        unserved=[v for v in shown if v.key.kind == meta.SERVER.kind and v.key not in served],
        unattached=[
            v for v in shown if isinstance(v.model, McpRoute) and not any(key in proxies for key in _parents(v.model))
        ],
    )


def view(body: Object) -> View:
    """One body as the API server sent it."""
    key = Key.of(str(body["kind"]), body)
    status = body.get("status") or {}
    try:
        model: Resource | None = parse(body)
    except InvalidResource as problem:
        return View(key, "NotReady", "Invalid", str(problem), (), row(key, status, None).cells, None)
    assert model is not None
    ready = next((c for c in model.status.conditions if c.type == "Ready"), None)
    return View(
        key,
        _state(model, ready),
        ready.reason if ready else "Pending",
        ready.message if ready else "Waiting for the operator",
        tuple(model.status.conditions),
        row(key, status, None).cells,
        model.metadata.creation_timestamp,
        model,
    )


def _state(model: Resource, ready: Condition | None) -> State:
    """As kstatus would have it, but that what is not ready need not be in progress."""
    if model.metadata.deletion_timestamp is not None:
        return "Deleting"
    if ready is None or ready.status == "Unknown":
        return "Unknown"
    if model.status.observed_generation != model.metadata.generation:
        return "Outdated"
    return "Ready" if ready.status == "True" else "NotReady"


def _tree(
    view: View, proxy: McpProxy, entries: Iterable[Entry], by_key: Mapping[Key, View], routes: Iterable[McpRoute]
) -> Tree:
    paths: dict[str, list[Served]] = {proxy.spec.path: []}
    for entry in entries:
        paths.setdefault(entry.path, []).append(Served(by_key[_key(entry.server)], entry.prefix, entry.source))
    attached = (by_key[_key(route)] for route in routes if view.key in _parents(route))
    ordered = sorted(paths, key=lambda path: (path != proxy.spec.path, path))
    return Tree(view, {path: paths[path] for path in ordered}, [v for v in attached if v.state != "Ready"])


def _parents(route: McpRoute) -> list[Key]:
    return [Key(meta.PROXY.kind, route.metadata.namespace, ref.name) for ref in route.spec.parent_refs]


def _key(resource: Resource) -> Key:
    return Key(resource.kind, resource.metadata.namespace, resource.metadata.name)
