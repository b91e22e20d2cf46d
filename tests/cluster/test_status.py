"""`mcp-operator status` against a real API server, with statuses as the operator writes them."""

import json
import subprocess
import sys
from typing import Any

import pytest

from mcp_operator.api import meta
from support.statuses import CASES

from .conftest import Kubectl

AS_THE_OPERATOR = ("apply", "--server-side", "--subresource=status", "--field-manager=mcp-operator-status", "-f", "-")


def put(kubectl: Kubectl, kind: str, case: str, name: str, **spec: Any) -> None:
    """Create a resource and give it the status of a case, of the generation that it has."""
    body = CASES[kind][case].body
    head = {"apiVersion": meta.API_VERSION, "kind": kind, "metadata": {"name": name}}
    made = kubectl.json("create", "-f", "-", body={**head, "spec": {**body["spec"], **spec}})
    status = {**body["status"]}
    if "observedGeneration" in status:
        status["observedGeneration"] = made["metadata"]["generation"]
    kubectl(*AS_THE_OPERATOR, body={**head, "status": status})


@pytest.fixture(scope="module")
def populated(kubectl: Kubectl) -> Kubectl:
    put(kubectl, "McpProxy", "ready", "tools", servers={"selector": {}})
    put(kubectl, "McpServer", "ready", "time")
    put(kubectl, "McpRoute", "ready", "extra", path="/extra/mcp", servers=[{"name": "time", "prefix": "t"}])
    return kubectl


def status(kubectl: Kubectl, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "mcp_operator", "status", "-n", kubectl.namespace, *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def test_all_is_well(populated: Kubectl) -> None:
    done = status(populated, "--exit-code")
    assert (done.returncode, done.stderr) == (0, "")
    assert "├── /mcp\n│   └── time   time_*   Ready" in done.stdout
    assert "└── /extra/mcp\n    └── time   t_*   Ready" in done.stdout


def test_a_resource_that_no_operator_has_seen(populated: Kubectl) -> None:
    """Its condition is the default of the definition."""
    populated(
        "create", "-f", "-", body={"apiVersion": meta.API_VERSION, "kind": "McpProxy", "metadata": {"name": "new"}}
    )
    done = status(populated, "--exit-code", "-o", "json")
    populated("delete", "mcpp", "new")
    assert done.returncode == 1
    (new,) = [r for r in json.loads(done.stdout)["resources"] if r["name"] == "new"]
    assert (new["state"], new["reason"]) == ("Unknown", "Pending")


def test_an_edit_that_no_operator_has_seen(populated: Kubectl) -> None:
    populated("patch", "mcps", "time", "--type=merge", "-p", '{"spec": {"timeouts": {"call": "61s"}}}')
    assert status(populated, "--exit-code", "-o", "tree").returncode == 1
