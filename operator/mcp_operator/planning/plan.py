"""A plan: what applying some files, or the operator's next look at the cluster, would change."""

import dataclasses
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mcp_operator.api import meta
from mcp_operator.api.resources import McpProxy, McpServer
from mcp_operator.compile import Compiled, compile_proxy
from mcp_operator.compile.consent import allows
from mcp_operator.compile.problems import Problem
from mcp_operator.compile.proxy import SESSION_KEY_FILE
from mcp_operator.compile.references import decoded
from mcp_operator.compile.selection import namespaces_of
from mcp_operator.compile.servers import IDENTITY_KEY, child_name, cluster_url, identity_name
from mcp_operator.desired import HostingSettings, proxy_objects
from mcp_operator.desired.proxy import secret_name
from mcp_operator.engine.keys import Key
from mcp_operator.kube.errors import ApiError
from mcp_operator.local.catalogue import Snapshot
from mcp_operator.local.manifests import named
from mcp_operator.planning.dryrun import Change, DryRun
from mcp_operator.planning.world import Planned, data_of, labels_of, planned_resources, world_of_children
from mcp_operator.reconcile.children import Refused, apply_children
from mcp_operator.reconcile.hosted import hosted_children
from mcp_operator.reconcile.observed import is_paused
from mcp_operator.reconcile.world import World


@dataclass(slots=True)
class Plan:
    """What would change, in the order of the writes; what would be refused; and what there is to know.

    `snapshot` is the planned part of the world as it would be, `compiled` what its proxies would serve.
    """

    changes: list[Change] = field(default_factory=list, repr=False)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    snapshot: Snapshot = field(default_factory=Snapshot, repr=False)
    compiled: dict[Key, Compiled] = field(default_factory=dict, repr=False)


async def make_plan(
    kube: DryRun, files: Snapshot | None, namespaces: Sequence[str] | None, settings: HostingSettings
) -> Plan:
    """Plan for the resources of `files` and the proxies of their namespaces, or without files for all of `namespaces`.

    `namespaces` are None for all. Raises `kube.errors` where the cluster can't be asked.
    """
    planned = await planned_resources(kube, files or Snapshot(), namespaces)
    chosen = _chosen(planned, files, namespaces)
    where = {key.namespace for key in chosen}
    labels = await labels_of(kube, where, files.labels if files else {})
    objects = await data_of(kube, _servers(planned, chosen, labels), files.objects if files else {})
    snapshot = planned.snapshot(objects, files.diagnostics if files else (), labels)
    world = await world_of_children(kube, where)
    plan = Plan(problems=planned.problems, notes=planned.notes, snapshot=_part(snapshot, chosen, where))
    plan.compiled = {proxy: _compiled(world, snapshot, proxy) for proxy in chosen if proxy.kind == meta.PROXY.kind}
    for key in chosen:
        await _plan_children(kube, world, key, settings, plan)
    plan.changes = kube.changes
    plan.notes += [
        f"namespace {namespace} does not exist: what is put there is shown as it would be sent"
        for namespace in sorted(kube.unchecked - {""})
    ]
    return plan


def _chosen(planned: Planned, files: Snapshot | None, namespaces: Sequence[str] | None) -> list[Key]:
    """Servers, then proxies, whose children are planned."""
    if files is None:
        found = [key for key in planned.resources if namespaces is None or key.namespace in namespaces]
    else:
        touched = {key.namespace for key in (*files.resources, *files.refused)}
        touched |= {namespace for _, namespace, _ in files.objects}
        found = [key for key in planned.resources if key in files.resources]
        found += [key for key in planned.resources if key.kind == meta.PROXY.kind and _reach(planned, key) & touched]
    servers = sorted({key for key in found if key.kind == meta.SERVER.kind})
    return [*servers, *sorted({key for key in found if key.kind == meta.PROXY.kind})]


def _reach(planned: Planned, key: Key) -> set[str]:
    """Namespaces of the servers that a proxy may serve."""
    proxy = planned.resources[key]
    return namespaces_of(proxy, planned.routes) if isinstance(proxy, McpProxy) else set()


def _servers(planned: Planned, chosen: Collection[Key], labels: Mapping[str, Mapping[str, str]]) -> list[McpServer]:
    """Those whose references matter: of the namespaces that are planned, and those of others that their proxies may serve."""
    reach = {(namespace, key.namespace) for key in chosen for namespace in {key.namespace} | _reach(planned, key)}
    return [
        server
        for server in planned.servers
        if any(
            server.metadata.namespace == namespace and allows(server, home, labels.get(home))
            for namespace, home in reach
        )
    ]


def _part(snapshot: Snapshot, chosen: Collection[Key], namespaces: Collection[str]) -> Snapshot:
    """The chosen resources and the routes of their namespaces: what there may be something to say of."""
    kept = {
        key: resource
        for key, resource in snapshot.resources.items()
        if key in chosen or (key.kind == meta.ROUTE.kind and key.namespace in namespaces)
    }
    return dataclasses.replace(snapshot, resources=kept)


async def _plan_children(kube: DryRun, world: World, key: Key, settings: HostingSettings, plan: Plan) -> None:
    owner = plan.snapshot.resources[key]
    assert isinstance(owner, McpServer | McpProxy)
    if owner.metadata.deletion_timestamp is not None:
        plan.notes.append(f"{named(key)}: is being deleted, and its objects with it")
        return
    if is_paused(owner):
        plan.notes.append(f"{named(key)}: paused: the operator leaves its objects as they are")
        return
    if isinstance(owner, McpServer):
        children = _server_children(world, owner, settings, plan.snapshot)
        if isinstance(children, Problem):
            return  # the caller tells why: what has been made stays as it is
        desired = children
    else:
        desired = proxy_objects(owner, plan.compiled[key], settings)
    try:
        await apply_children(kube, world, owner, desired)
    except (Refused, ApiError) as error:
        plan.problems.append(f"{plan.snapshot.places[key]}: {named(key)}: {error}")


def _server_children(
    world: World, server: McpServer, settings: HostingSettings, snapshot: Snapshot
) -> list[dict[str, Any]] | Problem:
    namespace = server.metadata.namespace
    key = decoded("Secret", world.store.get(Key("Secret", namespace, identity_name(server))) or {}).get(IDENTITY_KEY)
    return hosted_children(
        server,
        settings,
        snapshot.objects,
        world.store.get(Key("Deployment", namespace, child_name(server))),
        restarted_at=_restarted_at(world, server),
        identity=(key or secrets.token_hex(32).encode()) if server.spec.isolation == "user" else None,
    )


def _compiled(world: World, snapshot: Snapshot, key: Key) -> Compiled:
    proxy = snapshot.resources[key]
    assert isinstance(proxy, McpProxy)
    return compile_proxy(
        proxy,
        routes=snapshot.routes,
        servers=snapshot.servers,
        objects=snapshot.objects,
        url_of=cluster_url,
        session_key=_session_key(world, proxy),
        namespace_labels=snapshot.labels.get(key.namespace),
    )


def _session_key(world: World, proxy: McpProxy) -> bytes:
    held = world.store.get(Key("Secret", proxy.metadata.namespace, secret_name(proxy))) or {}
    return decoded("Secret", held).get(SESSION_KEY_FILE) or secrets.token_hex(32).encode()


def _restarted_at(world: World, server: McpServer) -> datetime | None:
    """When the operator last ordered a restart, as the pods that run now were told."""
    deployment = world.store.get(Key("Deployment", server.metadata.namespace, child_name(server))) or {}
    template = deployment.get("spec", {}).get("template", {}).get("metadata") or {}
    try:
        return datetime.fromisoformat((template.get("annotations") or {}).get(meta.ANNOTATION_RESTARTED_AT, ""))
    except ValueError:
        return server.status.restarted_at


def counted(changes: Collection[Change]) -> str:
    """`1 to create, 2 to change, none to delete`"""
    numbers = {action: sum(change.action == action for change in changes) for action in ("create", "change", "delete")}
    return ", ".join(f"{count or 'none'} to {action}" for action, count in numbers.items())
