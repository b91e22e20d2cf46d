"""What the API server says to manifests: the table that the models are asked too (tests/unit/api)."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_operator.api import meta
from mcp_operator.api.resources import parse
from support.documents import BLOCKS
from support.manifests import (
    ACCEPTED,
    REFUSED,
    Accepted,
    Body,
    Refused,
    documents,
    example_files,
    namespace_of,
    resources,
)

from .conftest import Kubectl

AS_THE_OPERATOR = ("apply", "--server-side", "--subresource=status", "--force-conflicts", "--field-manager=operator")
ON_TRIAL = ("create", "--dry-run=server", "--validate=strict", "-f", "-")


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_refuses_and_says_where_and_why(kubectl: Kubectl, case: Refused) -> None:
    done = kubectl.attempt(*ON_TRIAL, body=case.body)
    assert done.returncode != 0
    assert case.server_says in done.stderr
    assert case.field in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.id)
def test_accepts_and_fills_in_what_the_models_fill_in(kubectl: Kubectl, case: Accepted) -> None:
    stored = kubectl.json(*ON_TRIAL, body=case.body)
    assert parse(stored, strict=True).spec == parse(case.body).spec
    model = parse(case.body).spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert without_empty(stored.get("spec", {})) == without_empty(model)


@pytest.mark.parametrize("path", example_files(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_accepts_every_example(kubectl: Kubectl, path: Path) -> None:
    at_home(kubectl, path)("apply", "--dry-run=server", "--validate=strict", "-f", str(path))


def in_documents() -> list[Any]:
    """Every complete resource in the documents, by page and line."""
    blocks = [block for block in BLOCKS if block.language == "yaml" and not block.test]
    bodies = [(block, body) for block in blocks for body in yaml.safe_load_all(block.text) if body]
    ours = [(block, body) for block, body in bodies if str(body.get("apiVersion")).startswith(f"{meta.GROUP}/")]
    return [pytest.param(body, id=f"{block}-{body['kind']}-{body['metadata']['name']}") for block, body in ours]


@pytest.mark.parametrize("body", in_documents())
def test_accepts_every_manifest_of_the_documents(kubectl: Kubectl, body: Body) -> None:
    """By the rules in CEL, too. In the namespace of the test, whichever the page has it in."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "namespace"}
    kubectl(*ON_TRIAL, body={**body, "metadata": metadata})


@pytest.mark.parametrize("path", example_files(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_example_applied_again_changes_nothing(kubectl: Kubectl, path: Path) -> None:
    """No default of the server's comes back as a difference, once the operator has written a status."""
    kubectl = at_home(kubectl, path)
    kubectl("apply", "--server-side", "-f", str(path))
    for body in resources(path):
        kubectl(*AS_THE_OPERATOR, "-f", "-", body=seen(body))
    before = [stored(kubectl, body) for body in documents(path)]
    kubectl("apply", "--server-side", "-f", str(path))
    assert [stored(kubectl, body) for body in documents(path)] == before
    kubectl("delete", "-f", str(path))


def at_home(kubectl: Kubectl, path: Path) -> Kubectl:
    """kubectl in the namespace that the file names, made where it is missing, or else in the test's own."""
    name = namespace_of(path)
    if name is None:
        return kubectl
    if kubectl.attempt("get", "namespace", name).returncode != 0:
        kubectl("create", "namespace", name)
    return Kubectl(name)


def stored(kubectl: Kubectl, body: Body) -> Body:
    """All that the server holds of an object but when each manager last applied.

    managedFields are ordered by those times, in seconds: where an apply falls into a later second, their order and with
    it the resourceVersion change although nothing else does.
    """
    found = kubectl.json("get", body["kind"], body["metadata"]["name"], "--show-managed-fields")
    metadata = {key: value for key, value in found["metadata"].items() if key != "resourceVersion"}
    managers = [{key: value for key, value in entry.items() if key != "time"} for entry in metadata["managedFields"]]
    metadata["managedFields"] = sorted(managers, key=lambda entry: json.dumps(entry, sort_keys=True))
    return {**found, "metadata": metadata}


def seen(body: Body) -> Body:
    """The resource with a status as the operator would write it."""
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Ready",
        "message": "",
        "lastTransitionTime": "2026-03-01T12:00:00Z",
    }
    return {key: body[key] for key in ("apiVersion", "kind")} | {
        "metadata": {"name": body["metadata"]["name"]},
        "status": {"conditions": [ready]},
    }


def without_empty(value: Any) -> Any:
    """Without empty lists, maps and texts below the top: the models have them where the server stores nothing."""
    if isinstance(value, dict):
        kept = {key: without_empty(child) for key, child in value.items()}
        return {key: child for key, child in kept.items() if child not in ([], {}, "")}
    return [without_empty(child) for child in value] if isinstance(value, list) else value
