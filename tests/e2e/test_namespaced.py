"""An operator for some namespaces: its release has no object outside of them, and serves nothing else."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.kubectl import Namespace, eventually, kubectl
from support.product import BACKEND_IMAGE, RELEASE, SYSTEM, call
from support.resources import container, proxy, remote

CHART = Path(__file__).parents[2] / "charts" / "mcp-operator"
VALUES = Path(__file__).parent / "values.yaml"
TENANT = "tenant"
CORE = {"team": "core"}


def _helm(*arguments: str) -> None:
    subprocess.run(["helm", "--namespace", TENANT, *arguments], check=True, timeout=200, capture_output=True)


@pytest.fixture
def tenant(namespace: Namespace) -> Iterator[Namespace]:
    """The release's namespace; the operator of the whole cluster is away meanwhile."""
    system = Namespace(SYSTEM)
    system.run("scale", f"deployment/{RELEASE}", "--replicas=0")
    system.run("wait", "pods", "-l", "app.kubernetes.io/component=operator", "--for=delete", "--timeout=100s")
    kubectl("create", "namespace", TENANT)
    try:
        alone = "crds.upgrade=false,rbac.aggregate=false"
        _helm("install", TENANT, str(CHART), "--values", str(VALUES), "--skip-crds", "--wait", "--timeout=2m",
              "--set", f"{alone},watchNamespaces={{{namespace.name}}}")  # fmt: skip
        yield Namespace(TENANT)
        _helm("uninstall", TENANT, "--ignore-not-found", "--wait")
    finally:
        kubectl("delete", "namespace", TENANT, "--wait=false")
        system.run("scale", f"deployment/{RELEASE}", "--replicas=1")
        system.run("rollout", "status", f"deployment/{RELEASE}", "--timeout=90s")


def _clusterwide() -> set[str]:
    """What a release of this name has outside of namespaces."""
    return set(
        kubectl(
            "get", "clusterroles,clusterrolebindings", "-o", "name", "-l", f"app.kubernetes.io/instance={TENANT}"
        ).split()
    )


def _may(verb: str, what: str, namespace: str) -> bool:
    """Whether the operator's account has a right."""
    account = f"system:serviceaccount:{TENANT}:{TENANT}-mcp-operator"
    return kubectl("auth", "can-i", verb, what, "-n", namespace, "--as", account, check=False).strip() == "yes"


def test_one_namespace(tenant: Namespace, namespace: Namespace, backend: Callable[..., str]) -> None:
    namespace.apply(
        remote("far", backend("far"), labels=CORE),
        container("near", BACKEND_IMAGE, labels=CORE, env={"NAME": "near"}),
        proxy(selector=CORE),
    )
    for name in ("far", "near"):
        namespace.wait("mcps", name, "Ready")
    namespace.wait("mcpp", "tools", "Ready")
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: call(url, "far_hello") == "far/hello")
    tenant.apply(container("outside", BACKEND_IMAGE))
    assert _clusterwide() == set()
    assert _may("list", "secrets", namespace.name), "what is asked here is known"
    assert not [ns for ns in (TENANT, SYSTEM, "kube-system", "default") if _may("list", "secrets", ns)]
    namespace.run("label", "mcps", "far", "team-")  # a change that comes after is carried out: so was all before it
    eventually(lambda: namespace.get("mcpp", "tools")["status"]["serverCount"] == 1)
    assert tenant.condition("mcps", "outside", "Ready")["reason"] == "Pending", "nobody watches it"
    assert tenant.listed("deployments", "mcp-operator.dev/server") == []
    assert "forbidden" not in tenant.run("logs", f"deployment/{TENANT}-mcp-operator").lower()

    _helm("uninstall", TENANT, "--wait")
    assert eventually(lambda: call(url, "near_hello")) == "near/hello", "what it made goes on"
    assert tenant.run("get", "roles,rolebindings,leases,deployments", "-o", "name").strip() == ""
    assert namespace.run("get", "roles,rolebindings", "-o", "name").strip() == ""
