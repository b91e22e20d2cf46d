"""The health scripts of examples/gitops, run by a real Lua on what the API server returns; kstatus on the same.

MCP_OPERATOR_RENEW_GOLDEN=1 writes the tables (health_test.yaml) anew.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster.paths import from_environment
from mcp_operator.api import meta
from support import golden, lua
from support.kstatus import computed
from support.statuses import CASES, EVERY

from .conftest import Kubectl

CUSTOMIZATIONS = Path(__file__).parents[2] / "examples" / "gitops" / "argocd" / "resource_customizations" / meta.GROUP
AS_THE_OPERATOR = ("apply", "--server-side", "--subresource=status", "--field-manager=mcp-operator-status", "-f", "-")


@pytest.fixture(scope="module")
def interpreter() -> str:
    return lua.interpreter(from_environment(os.environ).cache)


def health(interpreter: str, body: dict[str, Any]) -> dict[str, str]:
    return lua.health(interpreter, (CUSTOMIZATIONS / body["kind"] / "health.lua").read_text(), body)


@pytest.mark.parametrize("kind", CASES)
def test_the_table_of_each_script(interpreter: str, kind: str) -> None:
    folder = CUSTOMIZATIONS / kind
    said = [
        {
            "healthStatus": health(interpreter, yaml.safe_load((folder / "testdata" / f"{name}.yaml").read_text())),
            "inputPath": f"testdata/{name}.yaml",
        }
        for name in CASES[kind]
    ]
    golden.check(folder / "health_test.yaml", {"tests": said})
    assert {test["inputPath"]: test["healthStatus"]["status"] for test in said} == {
        f"testdata/{name}.yaml": case.argo for name, case in CASES[kind].items()
    }


@pytest.mark.parametrize(("kind", "name"), [pair for pair in EVERY if pair[1] not in {"terminating", "outdated"}])
def test_what_the_api_server_returns(kubectl: Kubectl, interpreter: str, kind: str, name: str) -> None:
    case = CASES[kind][name]
    head = {"apiVersion": meta.API_VERSION, "kind": kind, "metadata": {"name": f"case-{name}"}}
    annotations = case.body["metadata"].get("annotations", {})
    created = {**head, "metadata": {**head["metadata"], "annotations": annotations}, "spec": case.body["spec"]}
    made = kubectl.json("create", "-f", "-", body=created)
    if name != "pending":
        status = {**case.body["status"], "observedGeneration": made["metadata"]["generation"]}
        made = kubectl.json(*AS_THE_OPERATOR, body={**head, "status": status})
    assert computed(made) == case.kstatus
    assert health(interpreter, made)["status"] == case.argo
    kubectl("patch", kind.lower(), f"case-{name}", "--type=merge", "-p", _AN_EDIT[kind])
    edited = kubectl.json("get", kind.lower(), f"case-{name}")
    assert computed(edited) == "InProgress"
    assert health(interpreter, edited)["status"] == "Progressing"


_AN_EDIT = {
    "McpServer": '{"spec": {"timeouts": {"call": "61s"}}}',
    "McpProxy": '{"spec": {"logLevel": "debug"}}',
    "McpRoute": '{"spec": {"path": "/elsewhere/mcp"}}',
}


@pytest.mark.parametrize(
    "status", [None, {}, {"conditions": []}, {"conditions": [{"type": "Other", "status": "True"}]}]
)
@pytest.mark.parametrize("kind", CASES)
def test_odd_statuses(interpreter: str, kind: str, status: object) -> None:
    body = {"kind": kind, "metadata": {"name": "a", "generation": 1}}
    if status is not None:
        body["status"] = status
    assert health(interpreter, body) == {"status": "Progressing", "message": "Waiting for the operator"}


def test_the_scripts_run_without_what_argo_cd_leaves_out(interpreter: str) -> None:
    """The harness does leave it out."""
    with pytest.raises(AssertionError, match="string"):
        lua.health(interpreter, "return string.rep('a', 2)", {})
    with pytest.raises(AssertionError):
        lua.health(interpreter, "return ('a'):rep(2)", {})
