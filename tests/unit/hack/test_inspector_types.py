"""The page's types are those of the models."""

from typing import Any

import pytest

from inspector_types import FILE, render, type_of


def test_the_types_are_up_to_date() -> None:
    assert FILE.read_text() == render(), "make them anew: python hack/inspector_types.py"


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer"}, "number"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "number | null"),
        ({"anyOf": [{"type": "number"}, {"type": "integer"}]}, "number"),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, '("a" | "b")[]'),
        ({"$ref": "#/$defs/Me"}, "Me"),
        ({"$ref": "#/$defs/JsonValue"}, "JsonValue"),
        ({"type": "object", "additionalProperties": {"$ref": "#/$defs/JsonValue"}}, "{ [key: string]: JsonValue }"),
        ({}, "JsonValue"),
    ],
)
def test_types(schema: dict[str, Any], expected: str) -> None:
    assert type_of(schema) == expected
