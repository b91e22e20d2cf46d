"""A real API server that a test may stop, real operator processes with the chart's rights, and a proxy between the two."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from localcluster.errors import ClusterError
from mcp_operator.api import meta
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.paths import path_of
from support.between import Between
from support.chart import rendered
from support.controlplane import ControlPlane
from support.definitions import wait_established
from support.operators import RunningOperator, running_operator

CRDS = Path(__file__).resolve().parents[3] / "crds"
SYSTEM = "mcp-system"
LEASE = "mcp-operator-leader"
PLURALS = {kind.kind: kind.plural for kind in meta.KINDS}
STRICT = {"enable-admission-plugins": "NodeRestriction,OwnerReferencesPermissionEnforcement"}
"""Who sets `blockOwnerDeletion` needs the right to."""
ACCOUNT = f"system:serviceaccount:{SYSTEM}:mcp-operator"
HEEDED_SECONDS = 60.0
RIGHTS = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "Lease"}

Body = dict[str, Any]


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server of these tests' own, with the definitions of this checkout."""
    try:
        control = ControlPlane(tmp_path_factory.mktemp("plane"), api=STRICT)
        rendered()
    except ClusterError as error:
        pytest.skip(f"these tests start an API server of their own ({error}): `make kubernetes-build` builds it")
    with control:
        control.kubectl("apply", "--server-side", "-f", str(CRDS))
        wait_established(control.kubectl, *(kind.crd_name for kind in meta.KINDS))
        yield control


@dataclass
class World:
    """What a test of operators has at hand."""

    plane: ControlPlane
    folder: Path
    admin: KubeClient
    betweens: dict[str, Between] = field(default_factory=dict)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def install(self, *values: str) -> str:
        """Create what the chart gives to the operator, rights first of all; a token of its ServiceAccount."""
        bodies = [body for body in rendered(*values) if body["kind"] in RIGHTS]
        self.plane.kubectl("apply", "-f", "-", body={"apiVersion": "v1", "kind": "List", "items": bodies})
        _await_rights(self.plane, [*_first_rights(bodies)], allowed=True)
        return self.plane.kubectl("-n", SYSTEM, "create", "token", "mcp-operator").strip()

    async def operator(self, token: str, *flags: str, name: str = "one") -> RunningOperator:
        """Start an operator that reaches the API server through `betweens[name]`."""
        if name not in self.betweens:
            between = Between(self.plane.url, self.plane.client_tls(admin=False))
            self.betweens[name] = await self.stack.enter_async_context(between)
        election = ("--lease-namespace", SYSTEM, "--lease-name", LEASE)
        running = running_operator(self.folder, self.betweens[name].url, token, *election, *flags, name=name)
        return await self.stack.enter_async_context(running)

    async def apply(self, namespace: str, *bodies: Body) -> None:
        for body in bodies:
            placed = {**body, "metadata": {**body["metadata"], "namespace": namespace}}
            await self.admin.apply(path_of(placed, PLURALS), placed, field_manager="test")

    async def get(self, plural: str, namespace: str, name: str) -> Body:
        return await self.admin.get(f"{_root(plural)}/namespaces/{namespace}/{plural}/{name}") or {}

    async def listed(self, plural: str, namespace: str) -> list[Body]:
        return (await self.admin.list(f"{_root(plural)}/namespaces/{namespace}/{plural}")).items

    async def names(self, plural: str, namespace: str) -> set[str]:
        return {body["metadata"]["name"] for body in await self.listed(plural, namespace)}

    async def holder(self) -> str:
        lease = await self.get("leases", SYSTEM, LEASE)
        return str((lease.get("spec") or {}).get("holderIdentity") or "")


def _first_rights(bodies: list[Body]) -> Iterator[Body]:
    """Of each role that is bound to the operator's account one right, as the attributes of a review."""
    roles = {(body["kind"], body["metadata"].get("namespace"), body["metadata"]["name"]): body for body in bodies}
    for body in bodies:
        if f"{SYSTEM}:mcp-operator" in [f"{s.get('namespace')}:{s['name']}" for s in body.get("subjects") or ()]:
            where, named = body["metadata"].get("namespace"), body["roleRef"]
            role = roles[named["kind"], where if named["kind"] == "Role" else None, named["name"]]
            rule = role["rules"][0]
            resource, _, subresource = rule["resources"][0].partition("/")
            yield {
                "verb": rule["verbs"][0],
                "group": rule["apiGroups"][0],
                "resource": resource,
                "subresource": subresource,
                "namespace": where or "kube-system",
                "name": (rule.get("resourceNames") or [""])[0],
            }


def _await_rights(plane: ControlPlane, attributes: list[Body], *, allowed: bool) -> None:
    """Wait until the API server heeds the roles: it learns of their changes a moment after they are written."""
    deadline = time.monotonic() + HEEDED_SECONDS
    kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
    for wanted in attributes:
        review = {**kind, "spec": {"user": ACCOUNT, "resourceAttributes": wanted}}
        while (
            plane.kubectl("create", "-f", "-", "-o", "jsonpath={.status.allowed}", body=review) == "true"
        ) is not allowed:
            assert time.monotonic() < deadline, f"not {'allowed' if allowed else 'forbidden'}: {wanted}"
            time.sleep(0.1)


def _root(plural: str) -> str:
    groups = {"deployments": "apps/v1", "leases": "coordination.k8s.io/v1"}
    if plural in PLURALS.values():
        return f"/apis/{meta.API_VERSION}"
    return f"/apis/{groups[plural]}" if plural in groups else "/api/v1"


@pytest.fixture
async def world(plane: ControlPlane, tmp_path: Path) -> AsyncIterator[World]:
    """Nothing of another test is there: neither its resources, nor its rights, nor a holder of the Lease."""
    if SYSTEM not in plane.kubectl("get", "namespaces", "-o", "name"):
        plane.kubectl("create", "namespace", SYSTEM)
    async with KubeClient.connect(str(plane.kubeconfig)) as admin:
        found = World(plane, tmp_path, admin)
        async with found.stack:
            yield found
        _remove_everything(plane)


def _remove_everything(plane: ControlPlane) -> None:
    """There is no garbage collector."""
    ours = ["--selector", f"{meta.LABEL_MANAGED_BY}={meta.MANAGED_BY}"]
    chart = ["--selector", "app.kubernetes.io/name=mcp-operator"]
    everywhere = ["--all-namespaces", "--wait=false"]
    plane.kubectl("delete", ",".join(PLURALS.values()), "--all", *everywhere)
    plane.kubectl("delete", "deployments,services,configmaps,secrets,serviceaccounts", *ours, *everywhere)
    plane.kubectl("delete", "roles,rolebindings,leases,serviceaccounts", *chart, *everywhere)
    plane.kubectl("delete", "clusterroles,clusterrolebindings", *chart, "--wait=false")
    anywhere = {"verb": "get", "resource": "secrets", "namespace": "kube-system"}
    _await_rights(plane, [anywhere], allowed=False)


Until = Callable[..., Awaitable[float]]


@pytest.fixture
def until() -> Until:
    """`await until(condition, within=60)`: the seconds that it took; the condition may be a coroutine function."""

    async def wait(
        condition: Callable[[], Any], *, within: float = 60.0, why: Callable[[], object] | None = None
    ) -> float:
        started = time.monotonic()
        while True:
            answer = condition()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return time.monotonic() - started
            assert time.monotonic() - started < within, f"not true after {within} s: {why() if why else condition}"
            await asyncio.sleep(0.05)

    return wait


@pytest.fixture
def namespace(plane: ControlPlane, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own. No controller would ever remove it, so it stays."""
    name = request.node.name.removeprefix("test_").replace("_", "-").replace("[", "-").rstrip("]")[:50].strip("-")
    plane.kubectl("create", "namespace", name)
    return name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(240))
