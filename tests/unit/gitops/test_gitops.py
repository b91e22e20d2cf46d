"""GitOps controllers read the statuses that the operator writes: the rules of kstatus, and what examples/gitops holds.

The health scripts run in a real Lua in tests/cluster/test_gitops.py; here is what their files must agree on.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_operator.api import meta
from mcp_operator.conditions.reasons import PROGRESSING, TERMINAL, Reason
from support import golden
from support.kstatus import computed
from support.statuses import CASES, EVERY

GITOPS = Path(__file__).parents[3] / "examples" / "gitops"
CUSTOMIZATIONS = GITOPS / "argocd" / "resource_customizations" / meta.GROUP
KINDS = [kind.kind for kind in meta.KINDS]
PAGE = Path(__file__).parents[3] / "docs" / "gitops.md"


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_kstatus_of_every_state(kind: str, name: str) -> None:
    case = CASES[kind][name]
    assert computed(case.body) == case.kstatus


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_conditions_of_kstatus_exclude_each_other(kind: str, name: str) -> None:
    conditions = {c["type"]: c["status"] for c in CASES[kind][name].body["status"]["conditions"]}
    assert not {"Reconciling", "Stalled"} <= conditions.keys()
    if conditions["Ready"] == "True":
        assert not {"Reconciling", "Stalled"} & conditions.keys()


def test_a_state_of_each_sort_is_there_of_every_kind() -> None:
    for kind in KINDS:
        assert {"Current", "InProgress", "Failed"} <= {case.kstatus for case in CASES[kind].values()} | (
            {"Failed"} if kind == "McpProxy" else set()
        )
        assert {"Healthy", "Progressing", "Degraded"} <= {case.argo for case in CASES[kind].values()}


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_test_data_of_the_scripts_are_the_operators_statuses(kind: str, name: str) -> None:
    golden.check(CUSTOMIZATIONS / kind / "testdata" / f"{name}.yaml", trimmed(CASES[kind][name].body))


def trimmed(body: dict[str, Any]) -> dict[str, Any]:
    """What scripts may look at: the conditions, and what says whether they are of this version."""
    metadata = {
        key: body["metadata"][key]
        for key in ("name", "namespace", "generation", "annotations", "deletionTimestamp")
        if key in body["metadata"]
    }
    status = {key: body["status"][key] for key in ("observedGeneration", "conditions") if key in body["status"]}
    return {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": metadata, "status": status}


@pytest.mark.parametrize("kind", KINDS)
def test_every_state_has_its_line_in_the_table_of_the_script(kind: str) -> None:
    """The table has the form of Argo CD's own tests, so the folder can be handed in there as it is."""
    tests = yaml.safe_load((CUSTOMIZATIONS / kind / "health_test.yaml").read_text())["tests"]
    told = {Path(test["inputPath"]).stem: test["healthStatus"]["status"] for test in tests}
    assert told == {name: case.argo for name, case in CASES[kind].items()}
    assert {path.stem for path in (CUSTOMIZATIONS / kind / "testdata").iterdir()} == CASES[kind].keys()


@pytest.mark.parametrize("kind", KINDS)
def test_scripts_use_no_library_that_argo_cd_leaves_out(kind: str) -> None:
    script = re.sub(r"--.*", "", (CUSTOMIZATIONS / kind / "health.lua").read_text())
    assert re.findall(r"\b(string|math|io|debug|coroutine)\.", script) == []
    assert re.findall(r"\w:\w+\(", script) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_scripts_wait_for_are_reasons_that_an_edit_elsewhere_ends(kind: str) -> None:
    script = (CUSTOMIZATIONS / kind / "health.lua").read_text()
    awaited = set(re.findall(r"^  (\w+) = true,$", script, re.MULTILINE))
    assert awaited
    assert awaited <= set(Reason) - TERMINAL - PROGRESSING


def test_the_config_map_holds_the_scripts() -> None:
    path = GITOPS / "argocd" / "argocd-cm.yaml"
    data = {
        f"resource.customizations.health.{meta.GROUP}_{kind}": (CUSTOMIZATIONS / kind / "health.lua").read_text()
        for kind in KINDS
    }
    if os.environ.get(golden.RENEW) == "1":
        path.write_text(path.read_text().partition("\ndata:\n")[0] + "\n" + yaml_of({"data": data}))
    (body,) = golden.documents(path)
    assert (body["kind"], body["metadata"]["name"]) == ("ConfigMap", "argocd-cm")
    assert body["data"] == data, f"{golden.RENEW}=1 renews it"


def yaml_of(value: Any) -> str:
    return yaml.dump(value, Dumper=golden._Dumper, sort_keys=False, allow_unicode=True, width=1000)


def flux() -> list[dict[str, Any]]:
    return [body for path in sorted((GITOPS / "flux").glob("*.yaml")) for body in golden.documents(path)]


def test_flux_waits_for_resources_of_ours() -> None:
    kustomizations = [body for body in flux() if body["kind"] == "Kustomization"]
    assert kustomizations
    checked = [check for body in kustomizations for check in body["spec"].get("healthChecks", [])]
    assert {check["kind"] for check in checked if check["apiVersion"] == meta.API_VERSION} == set(KINDS)
    assert any(body["spec"].get("wait") for body in kustomizations)
    for body in kustomizations:
        assert body["spec"]["timeout"]
        assert not (body["spec"].get("wait") and body["spec"].get("healthChecks")), "wait leaves healthChecks aside"


def test_the_page_names_every_file() -> None:
    text = PAGE.read_text()
    for path in (*GITOPS.rglob("*.lua"), *(GITOPS / "flux").iterdir(), *(GITOPS / "argocd").glob("*.yaml")):
        assert path.relative_to(GITOPS.parents[1]).as_posix() in text
