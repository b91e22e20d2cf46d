"""The commands of the documents that need a cluster, run as they stand there against a real API server.

Each scenario (the comments before the blocks, see support/documents.py) is run line by line in the folder of a reader
(support/reader.py) whose namespace is the test's. Nothing runs pods here: what waits for them stands in NEEDS_A_NODE. What would
change the cluster for other tests (a release, removals in all namespaces) is tried out as a dry run of the server.
tests/e2e/test_docs.py runs all of it on a node, in earnest.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.definitions import open_definitions
from support.documents import CLUSTER, scenario
from support.reader import Reader, lines

from .conftest import Kubectl

NEEDS_A_NODE = re.compile(
    r"kubectl (?:--namespace \S+ )?wait |kubectl (?:-n \S+ )?logs |kubectl port-forward "
    r"|kubectl patch service "  # that the operator makes
    r"|helm uninstall |helm upgrade .* --reuse-values "  # of a release
)
pytestmark = pytest.mark.timeout(300)
ON_A_NODE = frozenset({"cluster-egress", "cluster-image"})
"""Scenarios of which nothing can be run here."""
DRY = re.compile(r"^(?:helm upgrade |kubectl delete )")
DIGEST = "sha256:" + "0" * 64
OTHERS = (
    ("ServiceMonitor", "servicemonitors", "monitoring.coreos.com", "v1"),
    ("PrometheusRule", "prometheusrules", "monitoring.coreos.com", "v1"),
    ("Kustomization", "kustomizations", "kustomize.toolkit.fluxcd.io", "v1"),
    ("Application", "applications", "argoproj.io", "v1alpha1"),
)


@pytest.fixture
def reader(kubectl: Kubectl, tmp_path: Path) -> Reader:
    return Reader(tmp_path, kubectl.namespace, kubectl("config", "view", "--raw", "--flatten"))


@pytest.fixture(scope="module", autouse=True)
def namespaces(cluster: Kubectl) -> Iterator[None]:
    """Those that pages name, and kinds of others; what was not there before goes in the end."""
    made = [
        name
        for name in ("mcp-system", "argocd", "flux-system")
        if cluster.attempt("create", "namespace", name).returncode == 0
    ]
    with open_definitions(cluster, *OTHERS):
        yield
    for name in made:
        cluster("delete", "namespace", name, "--wait=false")


def commands(test: str) -> list[str]:
    return [line for line in lines(*scenario(test)) if NEEDS_A_NODE.match(f"{line} ") is None]


def pages(test: str) -> set[str]:
    return {block.page for block in scenario(test)}


def as_it_is_run(line: str) -> str:
    dry = f"{line} --dry-run=server" if DRY.match(line) else line
    return dry.replace(" --wait ", " ").replace("sha256:…", DIGEST)


def prepare(test: str, kubectl: Kubectl, reader: Reader) -> None:
    """What the pages of a scenario have made before: their files, and the resources that its commands name."""
    reader.write(*pages(test))
    if test == "cluster-desktop":
        for line in lines(*scenario("desktop", "docs/cli.md")):
            reader.run(line)
        kubectl.attempt("delete", "namespace", "tools", "--ignore-not-found")  # which the scenario makes
    if test == "cluster-gitops":
        cm = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", "namespace": "argocd"}}
        kubectl("apply", "--namespace", "argocd", "-f", "-", body=cm)
    if test in {"cluster-look", "cluster-pinning", "cluster-scale-out", "cluster-user-oauth"}:
        for body in reader.manifests(*({"README.md"} if test == "cluster-look" else pages(test))):
            kubectl("apply", "-f", "-", body=body)


@pytest.mark.parametrize("test", sorted(CLUSTER - ON_A_NODE))
def test_the_commands_of_a_scenario_run(kubectl: Kubectl, reader: Reader, test: str) -> None:
    prepare(test, kubectl, reader)
    assert commands(test)
    folder = str(Path(*pages(test)).parent) if test == "cluster-chart" else "."
    try:
        for line in commands(test):
            codes = (0, 1) if "mcp-operator plan" in line else (0,)  # 1: something would change
            reader.run(as_it_is_run(line), codes=codes, folder=folder)
    finally:
        if test == "cluster-install":
            kubectl("delete", "--namespace", "mcp-system", "mcps", "time", "--ignore-not-found")
        if test == "cluster-desktop":
            kubectl.attempt("delete", "namespace", "tools", "--wait=false")
    if test == "cluster-gitops":
        assert len(kubectl.json("get", "--namespace", "argocd", "configmap", "argocd-cm")["data"]) == 3
