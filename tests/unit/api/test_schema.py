"""Pydantic's JSON schema to a structural schema: one small model per thing that the real validator refuses or wants."""

from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, StringConstraints

from mcp_operator.api.common import ApiModel, keyed_by
from mcp_operator.api.constraints import Rule
from mcp_operator.api.crd.schema import Unstructural, structural

Short = Annotated[str, StringConstraints(max_length=8)]


class Leaf(ApiModel):
    """The type's text."""

    size: Annotated[int, Field(ge=1)] = 3
    name: Short | None = None


class Bare(ApiModel):
    """No leaf has a default."""

    names: Annotated[tuple[Short, ...], Field(max_length=2)] = ()


def field(annotation: Any, default: Any = ...) -> dict[str, Any]:
    """Structural schema of one field."""

    class Holder(ApiModel):
        it: annotation = default

    schema = structural(Holder)
    it: dict[str, Any] = schema["properties"]["it"]
    return it | ({"REQUIRED": True} if "it" in schema.get("required", []) else {})


LEAF = {
    "description": "The type's text.",
    "type": "object",
    "properties": {
        "size": {"type": "integer", "default": 3, "minimum": 1},
        "name": {"type": "string", "maxLength": 8},
    },
}
NAMES = {
    "type": "array",
    "maxItems": 2,
    "items": {"type": "string", "maxLength": 8},
    "x-kubernetes-list-type": "atomic",
}
BARE = {"description": "No leaf has a default.", "type": "object", "properties": {"names": NAMES}}


@pytest.mark.parametrize(
    ("annotation", "default", "schema"),
    [
        pytest.param(Short, ..., {"type": "string", "maxLength": 8, "REQUIRED": True}, id="required"),
        pytest.param(Short, "a", {"type": "string", "default": "a", "maxLength": 8}, id="default"),
        pytest.param(Short | None, None, {"type": "string", "maxLength": 8}, id="null is an absent field"),
        pytest.param(Leaf, ..., {**LEAF, "REQUIRED": True}, id="references stand inline"),
        pytest.param(Leaf | None, None, LEAF, id="optional object has no default"),
        pytest.param(Leaf, Leaf(), {**LEAF, "default": {}}, id="leaves default themselves"),
        pytest.param(Leaf, Leaf(size=5), {**LEAF, "default": {"size": 5}}, id="what the leaves do not say"),
        pytest.param(Bare, Bare(), BARE, id="nothing to default"),
        pytest.param(
            Annotated[Leaf, Field(description="The field's text.")],
            ...,
            {**LEAF, "description": "The field's text.", "REQUIRED": True},
            id="the field's text wins",
        ),
        pytest.param(Literal["a", "b"], "a", {"type": "string", "default": "a", "enum": ["a", "b"]}, id="enum"),
        pytest.param(Literal["a"], "a", {"type": "string", "default": "a", "enum": ["a"]}, id="constant"),
        pytest.param(datetime, ..., {"type": "string", "format": "date-time", "REQUIRED": True}, id="time"),
        pytest.param(
            Annotated[dict[str, Short], Field(max_length=4)],
            {},
            {"type": "object", "maxProperties": 4, "additionalProperties": {"type": "string", "maxLength": 8}},
            id="map",
        ),
        pytest.param(Annotated[tuple[Short, ...], Field(max_length=2)], (), NAMES, id="list without items"),
        pytest.param(
            Annotated[tuple[Short, ...], Field(max_length=2)], ("a",), {**NAMES, "default": ["a"]}, id="list with items"
        ),
        pytest.param(
            Annotated[tuple[Leaf, ...], Field(max_length=2, json_schema_extra=keyed_by("name"))],
            (),
            {
                "type": "array",
                "maxItems": 2,
                "items": LEAF,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
            id="list with keys",
        ),
        pytest.param(
            Annotated[Short, Rule("self != ''", "must not be empty", bool)],
            ...,
            {
                "type": "string",
                "maxLength": 8,
                "x-kubernetes-validations": [{"rule": "self != ''", "message": "must not be empty"}],
                "REQUIRED": True,
            },
            id="rule",
        ),
    ],
)
def test_converts(annotation: Any, default: Any, schema: dict[str, Any]) -> None:
    assert field(annotation, default) == schema


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        (str, "Holder.it: a string needs a maximal length"),
        (tuple[Short, ...], "Holder.it: a list needs a maximal length"),
        (Annotated[tuple[str, ...], Field(max_length=2)], r"Holder.it\[\]: a string needs a maximal length"),
        (dict[str, Short], "Holder.it: a map needs the type of its values and a maximal size"),
        (Annotated[dict[str, Any], Field(max_length=2)], "Holder.it: a map needs the type of its values"),
        (int | Short, "a union is modelled as optional siblings"),
        (Annotated[int, Field(gt=0)], "Holder.it: exclusiveMinimum can't be said in a structural schema"),
        (Annotated[int, Field(multiple_of=2)], "Holder.it: multipleOf can't be said in a structural schema"),
        (Any, "Holder.it: has no type"),
    ],
)
def test_refuses_what_a_structural_schema_cannot_say(annotation: Any, says: str) -> None:
    with pytest.raises(Unstructural, match=says):
        field(annotation)


def test_invariants_of_a_model_are_rules_of_its_object() -> None:
    class Pair(ApiModel):
        """One of two."""

        invariants = (
            Rule("has(self.a) != has(self.b)", "exactly one", lambda self: (self.a is None) != (self.b is None)),
        )
        a: Short | None = None
        b: Short | None = None

    assert structural(Pair)["x-kubernetes-validations"] == [
        {"rule": "has(self.a) != has(self.b)", "message": "exactly one"}
    ]
    assert field(Pair)["x-kubernetes-validations"][0]["message"] == "exactly one"
    with pytest.raises(ValueError, match="exactly one"):
        Pair()


def test_fields_can_be_left_out() -> None:
    assert list(structural(Leaf, without=("size",))["properties"]) == ["name"]
