"""The commands of the documents that need a cluster, run as they stand there against a real API server.

Each scenario (the comments before the blocks, see support/documents.py) is run line by line in a folder that has the repository's
charts and examples and the files that the pages show, with a kubeconfig whose namespace is the test's. Nothing runs pods here: what
waits for them stands in NEEDS_A_NODE, and is done in the words of the tests in tests/e2e. What would change the cluster for
other tests (a release, removals in all namespaces) is tried out as a dry run of the server.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from support.documents import BLOCKS, CLUSTER, ROOT, scenario

from .conftest import Kubectl

NEEDS_A_NODE: Mapping[str, str] = {
    r"kubectl (--namespace \S+ )?wait ": "waits for pods: test_examples.py waits for the same conditions",
    r"kubectl (-n \S+ )?logs ": "of pods",
    r"kubectl patch service ": "of a Service that the operator makes: test_routes.py and others reach such ones",
    r"helm uninstall ": "conftest.py of the e2e tests removes the release so",
    r"helm upgrade .* --reuse-values ": "of a release: tests/cluster/chart renders the chart with these values",
}
DRY = re.compile(r"^(?:helm upgrade |kubectl delete )")
DIGEST = "sha256:" + "0" * 64
Run = Callable[[str], str]


@pytest.fixture
def run(kubectl: Kubectl, tmp_path: Path) -> Run:
    """Runs one line of a page in the reader's folder; what it prints."""
    for name in ("charts", "crds", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    config = tmp_path / "kubeconfig"
    config.write_text(kubectl("config", "view", "--raw", "--flatten"))
    program = tmp_path / "mcp-operator"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m mcp_operator "$@"\n')
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "KUBECONFIG": str(config), "PATH": path, "REGISTRY": ""}

    def ran(line: str) -> str:
        codes = {0, 1} if "mcp-operator plan" in line else {0}  # 1: something would change
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode in codes, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    ran(f"kubectl config set-context --current --namespace={kubectl.namespace}")
    return ran


@pytest.fixture(scope="module", autouse=True)
def namespaces(cluster: Kubectl) -> Iterator[None]:
    """Those that pages name; what was not there before goes in the end."""
    made = [name for name in ("mcp-system", "argocd") if cluster.attempt("create", "namespace", name).returncode == 0]
    yield
    for name in made:
        cluster("delete", "namespace", name, "--wait=false")


def lines(test: str) -> list[str]:
    """The commands of a scenario, each whole (with what it is given, and without its comment), but those that need a node."""
    found: list[str] = []
    for block in scenario(test):
        text = block.commands.replace("\\\n", " ")
        for part in re.findall(
            r"^.*<<EOF\n.*?^EOF$|^.+$", text, re.MULTILINE | re.DOTALL if "<<EOF" in text else re.MULTILINE
        ):
            found += [part] if "<<EOF" in part else [line for line in part.splitlines() if line.strip()]
    stripped = [line if "<<EOF" in line else line.partition(" #")[0].strip() for line in found]
    return [line for line in stripped if line and not any(re.match(known, f"{line} ") for known in NEEDS_A_NODE)]


def pages(test: str) -> set[str]:
    return {block.page for block in scenario(test)}


def as_it_is_run(line: str) -> str:
    dry = f"{line} --dry-run=server" if DRY.match(line) else line
    return dry.replace(" --wait ", " ").replace("sha256:…", DIGEST)


def prepare(test: str, kubectl: Kubectl, run: Run, folder: Path) -> None:
    """What the pages of a scenario have made before: their files, and the resources that its commands name."""
    for block in BLOCKS:
        if block.page in pages(test) and block.file:
            (folder / block.file).write_text(block.text)
    if test == "cluster-desktop":
        for line in lines("desktop"):
            if " import " in line:
                run(f"rm -f secrets.yaml; {line}")
        kubectl.attempt("delete", "namespace", "tools", "--wait=false")
    if test == "cluster-gitops":
        cm = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", "namespace": "argocd"}}
        kubectl("apply", "--namespace", "argocd", "-f", "-", body=cm)
    shown = {"README.md"} if test == "cluster-look" else pages(test)
    if test in {"cluster-look", "cluster-pinning", "cluster-scale-out", "cluster-user-oauth"}:
        apply_what_is_shown(shown, kubectl)


def apply_what_is_shown(pages: set[str], kubectl: Kubectl) -> None:
    """The manifests of these pages."""
    texts = [b.text for b in BLOCKS if b.page in pages and b.language == "yaml" and not b.test]
    for text in texts:
        for body in yaml.safe_load_all(text):
            kubectl("apply", "-f", "-", body=body)


@pytest.mark.parametrize("test", sorted(CLUSTER))
def test_the_commands_of_a_scenario_run(kubectl: Kubectl, run: Run, tmp_path: Path, test: str) -> None:
    prepare(test, kubectl, run, tmp_path)
    commands = lines(test)
    assert commands or test == "cluster-egress"
    try:
        for line in commands:
            run(as_it_is_run(line))
    finally:
        if test == "cluster-install":
            kubectl("delete", "--namespace", "mcp-system", "mcps", "time", "--ignore-not-found")
        if test == "cluster-desktop":
            kubectl.attempt("delete", "namespace", "tools", "--wait=false")


def test_patching_argo_cd_leaves_three_scripts(kubectl: Kubectl, run: Run, tmp_path: Path) -> None:
    prepare("cluster-gitops", kubectl, run, tmp_path)
    for line in lines("cluster-gitops"):
        run(line)
    assert len(kubectl.json("get", "--namespace", "argocd", "configmap", "argocd-cm")["data"]) == 3
