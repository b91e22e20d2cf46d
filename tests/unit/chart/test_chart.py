"""The chart as files: what it repeats of the project is the same there, and its values are described in full."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from mcp_operator import __version__
from mcp_operator.api.crd.manifests import file_names, outdated

CHART = Path(__file__).parents[3] / "charts" / "mcp-operator"
VALUES: Mapping[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: Mapping[str, Any] = json.loads((CHART / "values.schema.json").read_text())


def test_brings_the_crds_of_the_models() -> None:
    assert outdated(CHART / "crds") == []
    assert {path.name for path in (CHART / "crds").iterdir()} == set(file_names())


def test_installs_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__


def test_the_schema_is_one_and_takes_the_defaults() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert list(Draft7Validator(SCHEMA).iter_errors(VALUES)) == []


def described(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, child in schema.get("properties", {}).items():
        yield f"{path}{name}", child
        yield from described(child, f"{path}{name}.")


@pytest.mark.parametrize(("path", "schema"), [pytest.param(*found, id=found[0]) for found in described(SCHEMA)])
def test_every_value_is_explained_and_no_other_is_taken(path: str, schema: Mapping[str, Any]) -> None:
    assert schema.get("description") or schema.get("type") == "string"
    if "properties" in schema:
        assert schema["additionalProperties"] is False


def test_every_default_is_in_the_schema_and_the_other_way_round() -> None:
    optional = {"global"}
    in_values = {path for path in paths(VALUES) if not path.startswith(("defaultProxy.spec.", "resources."))}
    in_schema = {path for path, _ in described(SCHEMA) if path not in optional and not path.startswith("resources.")}
    assert in_values == in_schema


def paths(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield f"{path}{name}"
        if isinstance(value, Mapping):
            yield from paths(value, f"{path}{name}.")
