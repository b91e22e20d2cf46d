"""The version before this one, as far as it is stored in tests/e2e/previous: its chart, and what its proxies read."""

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "e2e" / "previous"
(CHART,) = FOLDER.glob("*.tgz")

Body = dict[str, Any]
Schema = Mapping[str, Any]


def definitions() -> dict[str, Body]:
    """The definitions of the previous chart, by name."""
    with tarfile.open(CHART) as chart:
        files = (chart.extractfile(member) for member in chart.getmembers() if "/crds/" in member.name)
        bodies = [yaml.safe_load(file) for file in files if file is not None]
    return {body["metadata"]["name"]: body for body in bodies}


def config_schema() -> Schema:
    """JSON schema of the `config.json` that a proxy of the previous version reads."""
    schema: Schema = json.loads((FOLDER / "proxy-config.schema.json").read_text())
    return schema


def pruned(body: Body) -> Body:
    """A resource as an API server with the previous definitions would have stored it: without fields that these don't know."""
    kinds = {found["spec"]["names"]["kind"]: found for found in definitions().values()}
    versions = {version["name"]: version for version in kinds[body["kind"]]["spec"]["versions"]}
    schema = versions[body["apiVersion"].partition("/")[2]]["schema"]["openAPIV3Schema"]
    kept: Body = {**_known(body, schema), "metadata": body["metadata"]}
    return kept


def _known(value: Any, schema: Schema) -> Any:
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return value
    if isinstance(value, dict) and "properties" in schema:
        return {
            name: _known(v, schema["properties"][name]) for name, v in value.items() if name in schema["properties"]
        }
    if isinstance(value, dict) and isinstance(of := schema.get("additionalProperties"), Mapping):
        return {name: _known(v, of) for name, v in value.items()}
    if isinstance(value, list) and "items" in schema:
        return [_known(v, schema["items"]) for v in value]
    return value
