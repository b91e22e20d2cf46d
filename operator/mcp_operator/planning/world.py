"""The world that a plan is made for: what is in the cluster, with what stands in files laid over it."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from mcp_operator.api import meta
from mcp_operator.api.resources import InvalidResource, McpProxy, McpRoute, McpServer, Resource, parse
from mcp_operator.compile.references import DataId, DataObject, decoded, references
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import Store
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.errors import ApiError, Forbidden, NotFound
from mcp_operator.kube.paths import built_in
from mcp_operator.local.catalogue import Snapshot
from mcp_operator.local.manifests import Diagnostic, named
from mcp_operator.planning.dryrun import DryRun
from mcp_operator.planning.merge import last_applied, three_way
from mcp_operator.reconcile.world import CHILD_KINDS, INDEXED_LABELS, World

Object = dict[str, Any]
APPLIER: Final = "kubectl"
"""The field manager of `kubectl apply --server-side`."""
NO_UID: Final = "00000000-0000-0000-0000-000000000000"
UNAPPLIED: Final = "planned"
"""In the place of the version of a Secret or ConfigMap that is not in the cluster as it stands in the files."""
_PATHS: Final = {kind.kind: kind for kind in meta.KINDS}


@dataclass(slots=True)
class Planned:
    """The resources as they would be. `problems` are what the API server would refuse, in words."""

    resources: dict[Key, Resource] = field(default_factory=dict)
    places: dict[Key, str] = field(default_factory=dict)
    """Where each stands: in a file, or in the cluster."""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def snapshot(
        self,
        objects: Mapping[DataId, DataObject],
        diagnostics: Iterable[Diagnostic] = (),
        labels: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Snapshot:
        return Snapshot(
            resources=self.resources,
            objects=objects,
            diagnostics=tuple(diagnostics),
            labels=labels or {},
            places=dict(self.places),
        )

    @property
    def servers(self) -> list[McpServer]:
        return [resource for resource in self.resources.values() if isinstance(resource, McpServer)]

    @property
    def routes(self) -> list[McpRoute]:
        return [resource for resource in self.resources.values() if isinstance(resource, McpRoute)]

    @property
    def proxies(self) -> list[McpProxy]:
        return [resource for _, resource in sorted(self.resources.items()) if isinstance(resource, McpProxy)]


async def planned_resources(kube: DryRun, files: Snapshot, namespaces: Sequence[str] | None) -> Planned:
    """What is in the cluster, in `namespaces` if not all may be read, and what `files` would make of it."""
    planned = Planned()
    live = await _live(kube, namespaces, planned)
    for key, body in live.items():
        try:
            planned.resources[key] = parse(body)
            planned.places[key] = "cluster"
        except InvalidResource as error:
            planned.notes.append(f"{named(key)}: can't be read, so it is left out: {error}")
    for key, resource in files.resources.items():
        try:
            body = await _applied(kube, key, resource, live.get(key))
        except ApiError as error:
            planned.problems.append(f"{files.places[key]}: {named(key)}: {error}")
            continue
        planned.resources[key] = parse(body)
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
    metadata = {"labels": {}, "annotations": {}} | wanted["metadata"]
    patch = three_way(applied, {**wanted, "metadata": metadata}, live)
    return await kube.patched(path, patch, live) if patch else live


def manifest(resource: Resource) -> Object:
    """A resource as it was written: the fields that were set, and no others."""
    dumped = resource.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    metadata = {key: dumped["metadata"][key] for key in ("labels", "annotations") if dumped["metadata"].get(key)}
    names = {"name": resource.metadata.name, "namespace": resource.metadata.namespace}
    head = {"apiVersion": meta.API_VERSION, "kind": resource.kind, "metadata": names | metadata}
    return head | {"spec": dumped.get("spec", {})}


async def labels_of(
    kube: KubeClient, namespaces: Iterable[str], files: Mapping[str, Mapping[str, str]]
) -> dict[str, Mapping[str, str]]:
    """Labels of namespaces, as they would be; one whose labels may not be read is left out."""
    found: dict[str, Mapping[str, str]] = {}
    for namespace in sorted(set(namespaces)):
        try:
            body = await kube.get(built_in("Namespace").path(name=namespace)) or {}
        except Forbidden:
            continue
        live = (body.get("metadata") or {}).get("labels") or {}
        found[namespace] = {**live, **files.get(namespace, {})}
    return found


async def data_of(
    kube: KubeClient, servers: Iterable[McpServer], files: Mapping[DataId, DataObject]
) -> dict[DataId, DataObject]:
    """Every Secret and ConfigMap that the servers refer to, as it would be. What does not exist is left out."""
    wanted = sorted({reference for server in servers for reference in references(server)})
    bodies = await asyncio.gather(*(kube.get(built_in(kind).path(ns, name)) for kind, ns, name in wanted))
    found: dict[DataId, DataObject] = {}
    for reference, body in zip(wanted, bodies, strict=True):
        live = DataObject(body["metadata"]["resourceVersion"], decoded(reference[0], body)) if body else None
        declared = files.get(reference)
        if declared is not None and (live is None or dict(declared.data) != dict(live.data)):
            found[reference] = DataObject(UNAPPLIED, declared.data)
        elif live is not None:
            found[reference] = live
    return found


async def world_of_children(kube: DryRun, namespaces: Iterable[str]) -> World:
    """A store of the children that the operator made in some namespaces: what it would find drifted, or prune."""
    store = Store(label_indexes=INDEXED_LABELS)
    selector = f"{meta.LABEL_MANAGED_BY}={meta.MANAGED_BY}"
    for namespace in sorted(set(namespaces)):
        for kind in CHILD_KINDS:
            for body in (await kube.list(built_in(kind).path(namespace), label_selector=selector)).items:
                store.observe(kind, body)
    return World(store, kube)
