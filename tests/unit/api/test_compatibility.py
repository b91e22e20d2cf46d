"""What was stored under the previous version is still valid: fields stay, keep their type, and take what they took.

The previous chart is stored beside the test that upgrades from it. How a field is to change all the same: docs/upgrades.md.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from mcp_operator.api import meta
from mcp_operator.api.crd.definitions import definition
from support import previous

Schema = Mapping[str, Any]
MOST = ("maxLength", "maxItems", "maxProperties", "maximum")
LEAST = ("minLength", "minItems", "minProperties", "minimum")


def narrowed(old: Schema, new: Schema, path: str) -> Iterator[str]:
    """Where `new` refuses, or forgets, what `old` took."""
    if old.get("type") != new.get("type"):
        yield f"{path}: {old.get('type')} became {new.get('type')}"
        return
    if old.get("x-kubernetes-preserve-unknown-fields") and not new.get("x-kubernetes-preserve-unknown-fields"):
        yield f"{path}: it took unknown fields"
    if more := {*new.get("required", ())} - {*old.get("required", ())}:
        yield f"{path}: {sorted(more)} became required"
    if "enum" in new and not {*map(str, old.get("enum", ["anything"]))} <= {*map(str, new["enum"])}:
        yield f"{path}: its values became fewer"
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"{path}: its pattern changed"
    yield from (f"{path}: {bound} became less" for bound in MOST if bound in new and _of(old, bound, 1) > new[bound])
    yield from (f"{path}: {bound} became more" for bound in LEAST if bound in new and _of(old, bound, -1) < new[bound])
    for name, child in old.get("properties", {}).items():
        if name in new.get("properties", {}):
            yield from narrowed(child, new["properties"][name], f"{path}.{name}")
        elif not new.get("x-kubernetes-preserve-unknown-fields"):
            yield f"{path}.{name}: it is gone"
    for part in ("items", "additionalProperties"):
        if isinstance(old.get(part), Mapping) and isinstance(new.get(part), Mapping):
            yield from narrowed(old[part], new[part], f"{path}[]")


def _of(schema: Schema, bound: str, sign: int) -> float:
    """A bound, or none at all in that direction."""
    return float(schema.get(bound, sign * float("inf")))


@pytest.mark.parametrize("kind", meta.KINDS, ids=lambda kind: kind.kind)
def test_what_was_stored_is_valid(kind: meta.Kind) -> None:
    old, new = (
        {version["name"]: version["schema"]["openAPIV3Schema"] for version in body["spec"]["versions"]}
        for body in (previous.definitions()[kind.crd_name], definition(kind))
    )
    assert old.keys() <= new.keys(), "a version that objects are stored in stays until they are migrated"
    found = [text for version in old for text in narrowed(old[version], new[version], version)]
    assert found == []


@pytest.mark.parametrize("kind", meta.KINDS, ids=lambda kind: kind.kind)
def test_one_version_is_stored(kind: meta.Kind) -> None:
    stored = [version["name"] for version in definition(kind)["spec"]["versions"] if version["storage"]]
    assert stored == [meta.VERSION]


TEXT: Schema = {"type": "string", "maxLength": 9, "minLength": 1, "enum": ["a", "b"]}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (TEXT, {**TEXT, "type": "integer"}, "string became integer"),
        (TEXT, {**TEXT, "maxLength": 8}, "maxLength became less"),
        (TEXT, {**TEXT, "minLength": 2}, "minLength became more"),
        ({"type": "string"}, {"type": "string", "maxLength": 8}, "maxLength became less"),
        ({"type": "string"}, {"type": "string", "minLength": 1}, "minLength became more"),
        (TEXT, {**TEXT, "enum": ["a"]}, "values became fewer"),
        ({"type": "string"}, {"type": "string", "enum": ["a"]}, "values became fewer"),
        (TEXT, {**TEXT, "pattern": "a"}, "pattern changed"),
        ({"type": "object", "properties": {"a": TEXT}}, {"type": "object"}, "a: it is gone"),
        ({"type": "object"}, {"type": "object", "required": ["a"]}, "['a'] became required"),
        ({"type": "array", "items": TEXT}, {"type": "array", "items": {**TEXT, "maxLength": 8}}, "[]: maxLength"),
        (
            {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            {"type": "object", "properties": {}},
            "unknown fields",
        ),
    ],
)
def test_what_counts_as_narrower(old: Schema, new: Schema, says: str) -> None:
    (found,) = narrowed(old, new, "spec")
    assert says in found


@pytest.mark.parametrize(
    "new",
    [
        {**TEXT, "maxLength": 10, "minLength": 0, "enum": ["a", "b", "c"]},
        {"type": "string"},
        {**TEXT, "description": "x", "default": "a"},
    ],
)
def test_what_counts_as_wider(new: Schema) -> None:
    assert [*narrowed(TEXT, new, "spec")] == []
