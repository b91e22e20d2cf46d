"""The operator with exactly the rights that the chart gives it, as a ServiceAccount of a real API server."""

import base64
import signal
from typing import Any

import pytest

from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.errors import Forbidden
from support import resources
from support.kubeconfig import kubeconfig

from .conftest import SYSTEM, Until, World

IMAGE = "registry.invalid/server:1"
TOKEN = {"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": "token", "key": "header"}}}


def _secret(name: str) -> dict[str, Any]:
    value = base64.b64encode(b"Bearer s3cret").decode()
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {"header": value}}


def _manifests() -> list[dict[str, Any]]:
    """Every kind, hosted and remote, and a reference to a Secret."""
    return [
        _secret("token"),
        resources.container("near", IMAGE, labels={"team": "a"}),
        resources.stdio("local", "uvx", "mcp-server-time", labels={"team": "a"}),
        resources.remote("far", "http://127.0.0.1:9/mcp", headers=[TOKEN], labels={"team": "a"}),
        resources.proxy("tools", selector={"team": "a"}),
        resources.route("extra", {"name": "far"}, path="/extra/mcp"),
    ]


async def _all_told(world: World, namespace: str) -> bool:
    bodies = [
        body for plural in ("mcpservers", "mcpproxies", "mcproutes") for body in await world.listed(plural, namespace)
    ]
    told = [body for body in bodies if (body.get("status") or {}).get("observedGeneration")]
    secrets = await world.names("secrets", namespace)
    return len(told) == len(bodies) == 5 and "tools-proxy-secrets" in secrets


@pytest.mark.parametrize("mode", ["cluster", "namespaces"])
async def test_nothing_that_it_does_is_forbidden(world: World, namespace: str, until: Until, mode: str) -> None:
    watched = ["--set", f"watchNamespaces={{{namespace}}}"] if mode == "namespaces" else []
    token = world.install(*watched)
    flags = ["--namespaces", namespace] if mode == "namespaces" else []
    operator = await world.operator(token, *flags)
    between = world.betweens["one"]
    await world.apply(namespace, *_manifests())
    await until(lambda: _all_told(world, namespace), why=lambda: operator.lines[-10:])
    await world.apply(namespace, resources.proxy("tools", selector={"team": "b"}))
    await world.admin.delete(f"/apis/mcp-operator.dev/v1alpha1/namespaces/{namespace}/mcpservers/near")
    await world.apply(namespace, resources.container("local", IMAGE))  # another form: one child goes, another comes
    await until(lambda: _told_anew(world, namespace), why=lambda: operator.lines[-10:])
    forbidden = {(asked.method, asked.path) for asked in between.asked if asked.status == 403}
    assert forbidden == set()
    assert not [line for line in operator.lines if " is forbidden:" in line["message"]]
    if mode == "namespaces":
        outside = {asked.path for asked in between.asked if asked.status == 200 and not _inside(asked.path, namespace)}
        assert outside == set(), "it asks for nothing outside of what it watches"


async def _told_anew(world: World, namespace: str) -> bool:
    bodies = [body for plural in ("mcpservers", "mcpproxies") for body in await world.listed(plural, namespace)]
    return all((b.get("status") or {}).get("observedGeneration") == b["metadata"]["generation"] for b in bodies)


def _inside(path: str, namespace: str) -> bool:
    """Of the watched namespace, its own Lease, or the API server's list of what it serves."""
    discovery = {"/api", "/apis", "/version", "/api/v1"}
    lists_kinds = path.startswith("/apis/") and len(path.strip("/").split("/")) == 3
    parts = path.split("/")
    return (
        f"/namespaces/{namespace}/" in f"{path}/"
        or path in discovery
        or lists_kinds
        or (SYSTEM in parts and "leases" in parts)
    )


async def test_a_namespace_that_is_gone_holds_up_no_other(world: World, namespace: str, until: Until) -> None:
    """With a namespace goes the operator's Role in it. The others are served on, also after a restart; and it may come back."""
    other = f"{namespace}-2"
    world.plane.kubectl("create", "namespace", other)
    watched = f"watchNamespaces={{{namespace},{other}}}"
    token = world.install("--set", watched)

    operator = await world.operator(token, "--namespaces", f"{namespace},{other}", "--resync-seconds", "2")
    await until(operator.is_ready, why=lambda: operator.lines[-5:])
    world.plane.kubectl("-n", other, "delete", "role/mcp-system-mcp-operator", "rolebinding/mcp-system-mcp-operator")
    failures = lambda: operator.metric("controller_resync_failures_total", kind="McpServer")  # noqa: E731

    async def refused_twice() -> bool:
        return await failures() >= 2

    await until(refused_twice, why=lambda: operator.lines[-5:])
    await world.apply(namespace, resources.container("first", IMAGE))
    await until(lambda: _has_service(world, namespace, "first"))

    anew = await world.operator(token, "--namespaces", f"{namespace},{other}", name="anew")
    operator.signal(signal.SIGTERM)
    await until(anew.is_ready, why=lambda: anew.lines[-5:])
    await world.apply(namespace, resources.container("second", IMAGE))
    await until(lambda: _has_service(world, namespace, "second"), why=lambda: anew.lines[-5:])
    await until(lambda: anew.said(f'in the namespace "{other}"'))  # it says where it may not read

    world.install("--set", watched)
    await world.apply(other, resources.container("third", IMAGE))
    await until(lambda: _has_service(world, other, "third"), why=lambda: anew.lines[-5:])
    assert (await anew.ask("/healthz"))[0] == 200


async def _has_service(world: World, namespace: str, name: str) -> bool:
    return f"{name}-server" in await world.names("services", namespace)


FORBIDDEN = [
    "/api/v1/secrets",
    "/api/v1/namespaces/default/secrets",
    "/api/v1/namespaces/kube-system/secrets",
    f"/api/v1/namespaces/{SYSTEM}/secrets",
    "/api/v1/configmaps",
    "/api/v1/pods",
    "/apis/apps/v1/deployments",
    "/apis/mcp-operator.dev/v1alpha1/mcpservers",
    f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases",
    "/api/v1/nodes",
    "/api/v1/namespaces",
]


async def test_what_an_install_for_namespaces_may_not_read(world: World, watched: str) -> None:
    token = world.install("--set", f"watchNamespaces={{{watched}}}")
    async with _as(world, token) as kube:
        assert (await kube.list(f"/api/v1/namespaces/{watched}/secrets")).items == []
        for path in FORBIDDEN:
            with pytest.raises(Forbidden):
                await kube.list(path)
        with pytest.raises(Forbidden):
            await kube.get("/api/v1/namespaces/kube-system/secrets/any")


NEVER = [
    ("create", "", "pods"), ("delete", "", "pods"), ("create", "", "pods/exec"), ("create", "", "pods/attach"),
    ("create", "", "serviceaccounts/token"), ("impersonate", "", "users"), ("create", "", "namespaces"), ("delete", "", "namespaces"),
    ("create", "rbac.authorization.k8s.io", "roles"), ("create", "rbac.authorization.k8s.io", "clusterrolebindings"),
    ("escalate", "rbac.authorization.k8s.io", "roles"), ("bind", "rbac.authorization.k8s.io", "clusterroles"),
    ("patch", "apiextensions.k8s.io", "customresourcedefinitions"), ("create", "coordination.k8s.io", "leases"),
    ("create", "mcp-operator.dev", "mcpservers"), ("delete", "mcp-operator.dev", "mcpservers"),
    ("patch", "mcp-operator.dev", "mcpproxies"), ("patch", "mcp-operator.dev", "mcproutes"),
    ("get", "", "nodes"), ("get", "", "nodes/proxy"), ("get", "", "persistentvolumes"), ("deletecollection", "", "secrets"),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["cluster", "namespaces"])
async def test_what_it_may_never_do(world: World, watched: str, mode: str) -> None:
    world.install(*(["--set", f"watchNamespaces={{{watched}}}"] if mode == "namespaces" else []))
    assert await _may(world, "patch", "", "secrets", watched), "what it may do is known"
    allowed = [right for right in NEVER if await _may(world, *right, watched)]
    assert allowed == []
    assert await _may(world, "get", "", "secrets", "kube-system") == (mode == "cluster")


async def _may(world: World, verb: str, group: str, resource: str, namespace: str) -> bool:
    """What the API server would say to the operator's account (SubjectAccessReview)."""
    plural, _, subresource = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": plural, "subresource": subresource, "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": f"system:serviceaccount:{SYSTEM}:mcp-operator", "resourceAttributes": attributes},
    }
    answer = await world.admin.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


def _as(world: World, token: str) -> KubeClient:
    path = world.folder / "account.kubeconfig"
    kubeconfig(path, world.plane.url, token=token, authority=world.plane.pki / "ca.crt")
    return KubeClient.connect(str(path))


@pytest.fixture
def watched(world: World) -> str:
    """One namespace for the tests that only ask."""
    if "watched" not in world.plane.kubectl("get", "namespaces", "-o", "name"):
        world.plane.kubectl("create", "namespace", "watched")
    return "watched"
