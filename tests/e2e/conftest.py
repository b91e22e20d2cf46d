"""The product on a real cluster, installed by its chart; a namespace for every test.

KUBECONFIG names the cluster. Images are those that `make images` built and loaded; `MCP_OPERATOR_E2E_REGISTRY` may name a
registry to take them from.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.kubectl import Namespace, eventually, kubectl
from support.product import RELEASE, SYSTEM, backend_objects, install

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session", autouse=True)
def product() -> Iterator[Namespace]:
    """The operator, installed anew by its chart and ready; at the end no namespace of a test may hang on anything."""
    if "KUBECONFIG" not in os.environ:
        pytest.fail("KUBECONFIG names no cluster; `make e2e` starts one and runs these tests in it")
    subprocess.run(["helm", "uninstall", RELEASE, "--namespace", SYSTEM, "--ignore-not-found", "--wait"], check=True)
    install()
    yield Namespace(SYSTEM)
    eventually(lambda: not kubectl("get", "namespaces", "-l", TEST_LABEL, "-o", "name"), timeout=300)


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A namespace of the test's own; `product` waits in the end until all of them are gone."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:40].strip("-")
    kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=true")
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, TEST_LABEL)
    yield Namespace(name)
    if request.node.stash.get(FAILED, False):
        print(kubectl("-n", name, "get", "mcp,deployments,pods,events", "-o", "wide", check=False))
        print(kubectl("-n", SYSTEM, "logs", f"deployment/{RELEASE}", "--tail=60", check=False))
    kubectl("delete", "namespace", name, "--wait=false")


TEST_LABEL = "mcp-operator.test=yes"
FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call":
        item.stash[FAILED] = report.failed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.e2e)
        item.add_marker(pytest.mark.timeout(600))


@pytest.fixture
def backend(namespace: Namespace) -> Callable[..., str]:
    """Runs a backend that the operator does not own: a Deployment and a Service. Gives the URL to write into a `remote`."""

    def run(name: str, *, replicas: int = 1, **environment: str) -> str:
        namespace.apply(*backend_objects(name, replicas=replicas, **environment))
        namespace.run("rollout", "status", f"deployment/{name}", "--timeout=90s")
        return f"http://{name}.{namespace.name}.svc:8080/mcp"

    return run
