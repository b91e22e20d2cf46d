"""A real API server: the one that KUBECONFIG names. Tests write to namespaces that they make, and to our CRDs."""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mcp_operator.api import meta
from support.definitions import wait_established

CRDS = Path(__file__).resolve().parents[2] / "crds"
HERE = Path(__file__).resolve().parent
POLL_SECONDS = 0.2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@dataclass(frozen=True)
class Kubectl:
    """kubectl in one namespace, with the ambient kubeconfig."""

    namespace: str = "default"

    def attempt(self, *arguments: str, body: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl; `body` is handed over as JSON on stdin (`-f -`)."""
        return subprocess.run(
            ["kubectl", "--namespace", self.namespace, *arguments],
            input=None if body is None else json.dumps(body),
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )

    def __call__(self, *arguments: str, body: Mapping[str, Any] | None = None) -> str:
        """Output of kubectl, which must succeed."""
        done = self.attempt(*arguments, body=body)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def json(self, *arguments: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self(*arguments, "-o", "json", body=body))
        return parsed

    def eventually(self, *arguments: str, seconds: float = 30) -> str:
        """Output of kubectl, which must succeed within some time: discovery and OpenAPI follow a new CRD a little later."""
        deadline = time.monotonic() + seconds
        while (done := self.attempt(*arguments)).returncode != 0:
            assert time.monotonic() < deadline, f"kubectl {' '.join(arguments)}: {done.stderr}"
            time.sleep(POLL_SECONDS)
        return done.stdout


@pytest.fixture(scope="session")
def cluster() -> Iterator[Kubectl]:
    """The API server is there, it has the CRDs of this checkout, and no operator writes what the tests write."""
    if not os.environ.get("KUBECONFIG"):
        pytest.fail(
            "these tests need a cluster: run `make test`, name one in KUBECONFIG, or deselect them with -m 'not cluster'"
        )
    kubectl = Kubectl()
    kubectl("get", "--raw", "/readyz")
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    wait_established(kubectl, *(kind.crd_name for kind in meta.KINDS))
    for kind in meta.KINDS:
        kubectl.eventually("get", kind.short_name)
    running = operators(kubectl)
    for deployment in running:
        scale(deployment, 0)
    yield kubectl
    for deployment in running:
        scale(deployment, deployment["spec"]["replicas"])


def operators(kubectl: Kubectl) -> list[dict[str, Any]]:
    """Deployments of the operator that an end-to-end run may have left installed."""
    listed = kubectl.json("get", "deployments", "--all-namespaces", "-l", f"{meta.LABEL_NAME}=mcp-operator")
    return [deployment for deployment in listed["items"] if deployment["spec"]["replicas"]]


def scale(deployment: Mapping[str, Any], replicas: int) -> None:
    """Scale, and wait for the pods to be gone or to be ready."""
    kubectl = Kubectl(deployment["metadata"]["namespace"])
    name = f"deployment/{deployment['metadata']['name']}"
    kubectl("scale", name, f"--replicas={replicas}")
    if replicas:
        kubectl("rollout", "status", name, "--timeout=60s")
        return
    labels = ",".join(f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items())
    kubectl("wait", "pods", "-l", labels, "--for=delete", "--timeout=60s")


@pytest.fixture(scope="module")
def kubectl(cluster: Kubectl) -> Iterator[Kubectl]:
    """kubectl in a namespace that lives as long as the test module."""
    namespace = f"test-{secrets.token_hex(4)}"
    cluster("create", "namespace", namespace)
    yield Kubectl(namespace)
    cluster("delete", "namespace", namespace, "--wait=false")
