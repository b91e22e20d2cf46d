"""The chart's roles against what an operator asks when it does all that it can do: neither less nor more.

Every kind of child is made, found gone, and pruned; every kind is watched; a pod is hurried on; Events are written.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mcp_operator.api import meta
from mcp_operator.watch import WATCHED
from support import resources
from support.backends import ServedMCP
from support.chart import rendered
from support.definitions import open_definition, wait_established
from support.fickle import Fickle
from support.prometheus_operator import definition
from support.rights import Right, granted, used

from .conftest import ACCOUNT, RIGHTS, Until, World

Body = dict[str, Any]
IMAGE = "registry.invalid/server:1"
CORE = {"team": "core"}
OPTIONAL = [
    "gateway.networking.k8s.io/httproutes",
    "monitoring.coreos.com/servicemonitors",
    "monitoring.coreos.com/podmonitors",
]
UNSEEN: set[Right] = {
    # Asked by the admission plugin OwnerReferencesPermissionEnforcement, which the API server of these tests has.
    (meta.GROUP, "mcpservers/finalizers", "update"),
    (meta.GROUP, "mcpproxies/finalizers", "update"),
}
NEEDS = {"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": "token", "key": "header"}}}
SETTING = {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}}}


HTTP_ROUTES: Body = open_definition("HTTPRoute", "httproutes", "gateway.networking.k8s.io")


@pytest.fixture
async def optional_kinds(world: World) -> AsyncIterator[None]:
    """The Gateway API and the Prometheus operator's own, for as long as the test goes on."""
    items = [HTTP_ROUTES, definition("servicemonitors"), definition("podmonitors")]
    names = [body["metadata"]["name"] for body in items]
    body = {"apiVersion": "v1", "kind": "List", "items": items}
    world.plane.kubectl("apply", "--server-side", "-f", "-", body=body)
    wait_established(world.plane.kubectl, *names)
    yield
    world.plane.kubectl("delete", "crd", *names)


def _everything() -> list[Body]:
    data = {"apiVersion": "v1", "metadata": {"name": "settings"}, "kind": "ConfigMap", "data": {"level": "high"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "stringData": {"header": "Bearer x"}}
    local = resources.stdio("local", "uvx", "mcp-server-time", labels=CORE)
    local["spec"]["stdio"]["env"] = [SETTING]
    return [
        data,
        secret,
        resources.container("near", IMAGE, labels=CORE),
        local,
        resources.remote("far", "http://127.0.0.1:9/mcp", headers=[NEEDS], labels=CORE),
        resources.proxy(
            selector=CORE,
            autoscaling={"targetCPUUtilization": 70},
            ingress={"host": "mcp.example.com"},
            httpRoute={"parentRefs": [{"name": "edge"}]},
            monitoring={"enabled": True},
        ),
        resources.proxy("second", selector=CORE, monitoring={"enabled": True, "kind": "PodMonitor"}),
        resources.route("extra", {"name": "far"}, path="/extra/mcp"),
    ]


async def _told(world: World, namespace: str) -> bool:
    kinds = [kind.plural for kind in meta.KINDS]
    bodies = [body for plural in kinds for body in await world.listed(plural, namespace)]
    return all((b.get("status") or {}).get("observedGeneration") == b["metadata"]["generation"] for b in bodies)


async def _made(world: World, namespace: str) -> set[str]:
    """Kinds of which the operator has something in the namespace."""
    selector = f"{meta.LABEL_MANAGED_BY}={meta.MANAGED_BY}"
    found = set()
    for kind, (group, version, plural) in WATCHED.items():
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        if (await world.admin.list(f"{root}/namespaces/{namespace}/{plural}", selector)).items:
            found.add(kind)
    return found


async def _pod(world: World, namespace: str) -> None:
    """A pod of the proxy, as a ReplicaSet would make it, that says to be ready; no node ever runs it."""
    labels = (await world.get("deployments", namespace, "tools-proxy"))["spec"]["template"]["metadata"]["labels"]
    container = {"name": "proxy", "image": IMAGE}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    spec = {"containers": [container], "automountServiceAccountToken": False}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tools", "labels": labels}, "spec": spec}
    pods = f"/api/v1/namespaces/{namespace}/pods"
    await world.admin.apply(f"/api/v1/namespaces/{namespace}/serviceaccounts/default", account, field_manager="test")
    await world.admin.apply(f"{pods}/tools", pod, field_manager="test")
    ready = {"type": "Ready", "status": "True"}
    status = {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}], "conditions": [ready]}
    await world.admin.merge_patch(f"{pods}/tools/status", {"status": status})


async def _unwanted(world: World, namespace: str) -> None:
    """Children that a proxy has no use for any more, as after a configuration in several parts."""
    owner = await world.get("mcpproxies", namespace, "tools")
    reference = {"apiVersion": meta.API_VERSION, "kind": "McpProxy", "name": "tools", "uid": owner["metadata"]["uid"]}
    labels = {meta.LABEL_MANAGED_BY: meta.MANAGED_BY, meta.LABEL_PROXY: "tools"}
    metadata = {"name": "unwanted", "labels": labels, "ownerReferences": [{**reference, "controller": True}]}
    await world.apply(
        namespace, *({"apiVersion": "v1", "kind": kind, "metadata": metadata} for kind in ("ConfigMap", "Secret"))
    )


async def _lost_and_found(world: World, namespace: str, until: Until) -> None:
    """The same Event twice: the second time the first is counted on."""

    async def resolved(reason: str) -> bool:
        status = (await world.get("mcpservers", namespace, "far")).get("status") or {}
        return any(c["type"] == "ResolvedRefs" and c["reason"] == reason for c in status.get("conditions") or ())

    (secret,) = [body for body in _everything() if body["kind"] == "Secret"]
    for _ in range(2):
        await world.admin.delete(f"/api/v1/namespaces/{namespace}/secrets/token")
        await until(lambda: resolved("RefNotFound"))
        await world.apply(namespace, secret)
        await until(lambda: resolved("Resolved"))


async def _approved(world: World, namespace: str, until: Until, url: str) -> None:
    """An approval by annotation, which the operator takes away."""
    pinned = resources.remote("pinned", url, pinning="Warn")
    pinned["metadata"]["annotations"] = {meta.ANNOTATION_APPROVE: "all"}
    await world.apply(namespace, pinned)

    async def heeded() -> bool:
        metadata = (await world.get("mcpservers", namespace, "pinned"))["metadata"]
        return meta.ANNOTATION_APPROVE not in (metadata.get("annotations") or {})

    await until(heeded)


@pytest.mark.usefixtures("optional_kinds")
@pytest.mark.parametrize("mode", ["cluster", "namespaces"])
async def test_neither_less_nor_more(world: World, namespace: str, until: Until, mode: str) -> None:
    watched = ["--set", f"watchNamespaces={{{namespace}}}"] if mode == "namespaces" else []
    token = world.install(*watched)
    await world.apply(namespace, *_everything())
    flags = ["--namespaces", namespace] if mode == "namespaces" else []
    flags += ["--watch-patience-seconds", "6", "--resync-seconds", "5", "--egress-allow", "loopback"]
    operator = await world.operator(token, *flags)
    between = world.betweens["one"]
    children = set(WATCHED) - {kind.kind for kind in meta.KINDS} - {"Pod"}

    async def all_made() -> bool:
        return await _made(world, namespace) >= children and await _told(world, namespace)

    await until(all_made, why=lambda: operator.lines[-10:])
    await _pod(world, namespace)
    await world.apply(namespace, resources.remote("another", "http://127.0.0.1:9/mcp", labels=CORE))
    await until(lambda: any(asked.method == "PATCH" and asked.plural == "pods" for asked in between.asked))
    await _unwanted(world, namespace)
    await _lost_and_found(world, namespace, until)
    async with ServedMCP(Fickle().mcp) as served:
        await _approved(world, namespace, until, served.url)
    await world.apply(namespace, resources.proxy(selector={"team": "none"}, networkPolicy={"enabled": False}))
    await world.apply(
        namespace, resources.proxy("second", serviceAccountName="default", podDisruptionBudget={"enabled": False})
    )
    await world.apply(namespace, resources.remote("near", "http://127.0.0.1:9/mcp"))
    await until(lambda: _told(world, namespace), why=lambda: operator.lines[-10:])

    bodies = rendered(*watched)
    ours = {b["roleRef"]["name"] for b in bodies if b["kind"] in RIGHTS and ACCOUNT in _accounts(b)}
    allowed = granted(*(b for b in bodies if b["kind"] in {"Role", "ClusterRole"} and b["metadata"]["name"] in ours))
    assert used(between.asked) - allowed == set()
    assert [asked.path for asked in between.asked if asked.status == 403] == []

    def unused() -> set[Right]:
        return allowed - used(between.asked) - UNSEEN

    await until(lambda: not unused(), why=lambda: sorted(unused()))


def _accounts(binding: Body) -> list[str]:
    return [f"system:serviceaccount:{s.get('namespace')}:{s['name']}" for s in binding.get("subjects") or ()]
