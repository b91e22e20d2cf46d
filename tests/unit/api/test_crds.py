"""The generated CRDs: up to date, explained in every field, and written where they are wanted."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_operator.api import meta
from mcp_operator.api.crd import definition, definitions
from mcp_operator.api.crd.__main__ import main

ROOT = Path(__file__).resolve().parents[3]
KINDS = pytest.mark.parametrize("kind", meta.KINDS, ids=lambda kind: kind.kind)


def version(kind: meta.Kind) -> dict[str, Any]:
    [only] = definition(kind)["spec"]["versions"]
    assert isinstance(only, dict)
    return only


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    if "items" in schema:
        yield from fields(schema["items"], f"{path}[]")


def test_the_committed_files_are_what_the_models_say(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--check", str(ROOT / "crds")])
    assert status == 0, f"{capsys.readouterr().out}run: python -m mcp_operator.api.crd crds"


@KINDS
def test_the_committed_file_says_what_it_is_generated_by(kind: meta.Kind) -> None:
    text = (ROOT / "crds" / f"{kind.plural}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# Generated from operator/mcp_operator/api by `python -m mcp_operator.api.crd")
    assert yaml.safe_load(text) == definition(kind)


def test_writes_to_several_folders_and_notices_an_edit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [tmp_path / "crds", tmp_path / "chart" / "crds"]
    arguments = [str(folder) for folder in folders]
    assert main(["--check", *arguments]) == 1
    assert not folders[0].exists()
    assert main(arguments) == 0
    assert main(["--check", *arguments]) == 0
    assert sorted(path.name for path in folders[1].iterdir()) == [
        "mcpproxies.yaml",
        "mcproutes.yaml",
        "mcpservers.yaml",
    ]
    edited = folders[1] / "mcproutes.yaml"
    edited.write_text(edited.read_text().replace("minItems: 1", "minItems: 0"))
    capsys.readouterr()
    assert main(["--check", *arguments]) == 1
    assert capsys.readouterr().out == f"{edited} is out of date\n"
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"{edited} written\n"


def test_names_scope_and_category() -> None:
    assert [
        (body["metadata"]["name"], body["spec"]["names"]["shortNames"], body["spec"]["names"]["categories"])
        for body in definitions()
    ] == [
        ("mcpservers.mcp-operator.dev", ["mcps"], ["mcp"]),
        ("mcpproxies.mcp-operator.dev", ["mcpp"], ["mcp"]),
        ("mcproutes.mcp-operator.dev", ["mcpr"], ["mcp"]),
    ]
    assert all(body["spec"]["scope"] == "Namespaced" for body in definitions())


@KINDS
def test_every_field_has_a_text(kind: meta.Kind) -> None:
    schema = version(kind)["schema"]["openAPIV3Schema"]
    assert schema["description"]
    assert [path for path, field in fields(schema) if not field.get("description")] == [".metadata"]


@KINDS
def test_every_column_reads_a_field_of_the_schema(kind: meta.Kind) -> None:
    """A column whose path leads nowhere is silently empty."""
    known = {path for path, _ in fields(version(kind)["schema"]["openAPIV3Schema"])}
    for column in version(kind)["additionalPrinterColumns"]:
        path = re.sub(r'\[\?\(@\.type=="\w+"\)\]', "[]", column["jsonPath"])
        assert path in known | {".metadata.creationTimestamp"}


@KINDS
def test_the_status_has_no_default_but_a_pending_condition(kind: meta.Kind) -> None:
    """What nobody has found out yet must not be shown as found."""
    status = version(kind)["schema"]["openAPIV3Schema"]["properties"]["status"]
    assert [condition["status"] for condition in status["default"]["conditions"]] == ["Unknown"]
    assert [path for path, field in fields(status) if "default" in field] == []


@KINDS
def test_what_may_become_empty_survives_server_side_apply(kind: meta.Kind) -> None:
    """It makes null of an object that becomes `{}`: harmless where there is a default, or where it is owned as a whole."""
    spec = version(kind)["schema"]["openAPIV3Schema"]["properties"]["spec"]
    emptied = {
        path: field
        for path, field in fields(spec)
        if field.get("type") == "object" and not field.get("required") and not path.endswith("[]")
    }
    assert emptied
    lost = [path for path, field in emptied.items() if "default" not in field and "x-kubernetes-map-type" not in field]
    assert lost == []
