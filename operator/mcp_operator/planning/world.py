"""The world that a plan is made for: what is in the cluster, with what stands in files laid over it."""

import asyncio
import base64
import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from mcp_operator.api import meta
from mcp_operator.api.resources import InvalidResource, McpProxy, McpRoute, McpServer, Resource, parse
from mcp_operator.compile.consent import allows
from mcp_operator.compile.lookup import DataId, DataObject
from mcp_operator.compile.references import decoded, references
from mcp_operator.compile.selection import namespaces_of
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import Store
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.errors import ApiError, Forbidden, NotFound
from mcp_operator.kube.paths import built_in
from mcp_operator.local.catalogue import Snapshot
from mcp_operator.local.manifests import named
from mcp_operator.planning.dryrun import APPLIER, DryRun
from mcp_operator.planning.merge import last_applied, three_way
from mcp_operator.reconcile.world import CHILD_KINDS, World, slimmed

Object = dict[str, Any]
NO_UID: Final = "00000000-0000-0000-0000-000000000000"
UNAPPLIED: Final = "planned"
"""In the place of the version of a Secret or ConfigMap that is not in the cluster as it stands in the files."""
_PATHS: Final = {kind.kind: kind for kind in meta.KINDS}


@dataclass(slots=True)
class Planned:
    """The resources as they would be, as bodies. `problems` are what the API server would refuse, in words."""

    bodies: dict[Key, Object] = field(default_factory=dict, repr=False)
    places: dict[Key, str] = field(default_factory=dict)
    """Where each stands: in a file, or in the cluster."""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def models(self) -> dict[Key, Resource]:
        """Those of the bodies that can be read."""
        found = {}
        for key, body in self.bodies.items():
            with contextlib.suppress(InvalidResource):
                found[key] = parse(body)
        return found


async def planned_resources(kube: DryRun, files: Snapshot, namespaces: Sequence[str] | None) -> Planned:
    """What is in the cluster, in `namespaces` if not all may be read, and what `files` would make of it."""
    planned = Planned()
    live = await _live(kube, namespaces, planned)
    planned.bodies |= live
    planned.places |= dict.fromkeys(live, "cluster")
    for key, resource in files.resources.items():
        try:
            planned.bodies[key] = await _applied(kube, key, resource, live.get(key))
        except ApiError as error:
            planned.problems.append(f"{files.places[key]}: {named(key)}: {error}")
            continue
        planned.places[key] = files.places[key]
    return planned


async def _live(kube: KubeClient, namespaces: Sequence[str] | None, planned: Planned) -> dict[Key, Object]:
    """Bodies in the cluster. Of all namespaces where that may be read, as a route may serve what lives elsewhere."""
    found: dict[Key, Object] = {}
    for kind in meta.KINDS:
        try:
            bodies = await _listed(kube, kind, namespaces)
        except NotFound:
            planned.notes.append(f"the cluster does not know {kind.kind} yet: what it would say to it is not known")
            continue
        found |= {Key.of(kind.kind, body): body for body in bodies}
    return found


async def _listed(kube: KubeClient, kind: meta.Kind, namespaces: Sequence[str] | None) -> list[Object]:
    try:
        return (await kube.list(kind.path())).items
    except Forbidden:
        if namespaces is None:
            raise
    listings = [await kube.list(kind.path(namespace)) for namespace in namespaces]
    return [body for listing in listings for body in listing.items]


async def _applied(kube: DryRun, key: Key, resource: Resource, live: Object | None) -> Object:
    """The body that `kubectl apply` of the resource would leave. Raises ApiError."""
    path = _PATHS[key.kind].path(key.namespace, key.name)
    wanted = manifest(resource)
    if live is None:
        body = await kube.apply(path, wanted, field_manager=APPLIER, force=False)
        fresh = {"uid": NO_UID, "generation": 1, "creationTimestamp": datetime.now(UTC).isoformat()}
        return {**body, "metadata": fresh | body["metadata"]}
    applied = last_applied(live)
    there: Object = {name: {} for name in ("labels", "annotations") if live["metadata"].get(name)}
    metadata = there | wanted["metadata"]
    patch = three_way(applied, {**wanted, "metadata": metadata}, live)
    return await kube.patched(path, patch, live) if patch else live


def manifest(resource: Resource) -> Object:
    """A resource as it was written: the fields that were set, and no others."""
    dumped = resource.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    metadata = {key: dumped["metadata"][key] for key in ("labels", "annotations") if dumped["metadata"].get(key)}
    names = {"name": resource.metadata.name, "namespace": resource.metadata.namespace}
    head = {"apiVersion": meta.API_VERSION, "kind": resource.kind, "metadata": names | metadata}
    return head | {"spec": dumped.get("spec", {})}


def reaches(planned: Planned) -> dict[Key, set[str]]:
    """Of each proxy, the namespaces of the servers that it may serve."""
    models = planned.models
    routes = [route for route in models.values() if isinstance(route, McpRoute)]
    return {key: namespaces_of(proxy, routes) for key, proxy in models.items() if isinstance(proxy, McpProxy)}


async def observe_world(kube: DryRun, world: World, planned: Planned, files: Snapshot, chosen: Collection[Key]) -> None:
    """Fill the store as the operator's watches would: resources, and in the namespaces of `chosen` the children.

    Beside that the labels of those namespaces, and the Secrets and ConfigMaps that matter for `chosen`.
    """
    for key, body in planned.bodies.items():
        world.store.observe(key.kind, body)
    namespaces = {key.namespace for key in chosen}
    selector = f"{meta.LABEL_MANAGED_BY}={meta.MANAGED_BY}"
    for namespace in sorted(namespaces):
        await _observe_namespace(kube, world, namespace, files.labels.get(namespace, {}))
        for kind in CHILD_KINDS:
            with contextlib.suppress(NotFound):  # an API that this cluster lacks
                for body in (await kube.list(built_in(kind).path(namespace), label_selector=selector)).items:
                    world.store.observe(kind, body)
    proxies = [model for key, model in planned.models.items() if key in chosen and isinstance(model, McpProxy)]
    referring: list[McpServer | McpProxy] = [*_servers(world, planned, chosen), *proxies]
    wanted = {reference for resource in referring for reference in references(resource)}
    await _observe_data(kube, world.store, wanted, files.objects)


async def _observe_namespace(kube: DryRun, world: World, name: str, labels: Mapping[str, str]) -> None:
    """The namespace with its labels, as they would be; where they may not be read, the operator may not either."""
    try:
        body = await kube.get(built_in("Namespace").path(name=name)) or {"metadata": {"name": name}}
    except Forbidden:
        world.reads_namespaces = False
        return
    live = body["metadata"].get("labels") or {}
    metadata = {**body["metadata"], "labels": {**live, **labels}}
    world.store.observe("Namespace", slimmed({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))


def _servers(world: World, planned: Planned, chosen: Collection[Key]) -> list[McpServer]:
    """Servers whose references matter: of the namespaces of `chosen`, and those of others that its proxies may serve."""
    reach = {(key.namespace, key.namespace) for key in chosen}
    reach |= {(name, key.namespace) for key, names in reaches(planned).items() if key in chosen for name in names}
    servers = [server for server in planned.models.values() if isinstance(server, McpServer)]
    return [
        server
        for server in servers
        if any(
            server.metadata.namespace == namespace and allows(server, home, world.namespace_labels(home))
            for namespace, home in reach
        )
    ]


async def _observe_data(
    kube: DryRun, store: Store, wanted: Collection[DataId], files: Mapping[DataId, DataObject]
) -> None:
    """Secrets and ConfigMaps as they would be: what stands in the files is laid over."""
    names = sorted({*wanted, *files})
    bodies = await asyncio.gather(*(kube.get(built_in(kind).path(ns, name)) for kind, ns, name in names))
    for reference, live in zip(names, bodies, strict=True):
        kind, namespace, name = reference
        declared, body = files.get(reference), live
        if declared is not None and (live is None or decoded(kind, live) != dict(declared.data)):
            body = kube.overlay[built_in(kind).path(namespace, name)] = _body(reference, declared)
        if body is not None:
            store.observe(kind, slimmed(body))


def _body(reference: DataId, declared: DataObject) -> Object:
    """A Secret or ConfigMap of the files, as the API server would hold it. Its version is not known yet."""
    kind, namespace, name = reference
    encoded = {key: base64.b64encode(value).decode() for key, value in declared.data.items()}
    metadata = {"name": name, "namespace": namespace, "uid": NO_UID, "resourceVersion": UNAPPLIED}
    part = "data" if kind == "Secret" else "binaryData"
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, part: encoded}
