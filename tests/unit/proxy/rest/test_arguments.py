"""Arguments against schemas: what is said, and that no schema can do harm."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mcp_operator_proxy.services.arguments import MAX_PROBLEMS, ArgumentProblem, problems

DRAFT_7 = "http://json-schema.org/draft-07/schema#"
TABLE: list[tuple[dict[str, Any], dict[str, Any], list[tuple[str, str]]]] = [
    ({}, {"anything": 1}, []),
    ({"required": ["a", "b"]}, {"b": 1}, [("/a", "is required")]),
    ({"required": ["a/b", "~"]}, {}, [("/a~1b", "is required"), ("/~0", "is required")]),
    ({"properties": {"a": {"type": "integer"}}}, {"a": "hunter2"}, [("/a", "must be of type integer")]),
    ({"properties": {"a": {"type": ["integer", "null"]}}}, {"a": "x"}, [("/a", "must be of type integer or null")]),
    ({"properties": {"a": {"enum": ["x", "y"]}}}, {"a": "hunter2"}, [("/a", 'must be one of ["x", "y"]')]),
    ({"properties": {"a": {"minimum": 3}}}, {"a": 1}, [("/a", "must fit minimum: 3")]),
    ({"properties": {"a": {"pattern": "^[a-z]+$"}}}, {"a": "HUNTER2"}, [("/a", 'must fit pattern: "^[a-z]+$"')]),
    ({"properties": {"a": {"pattern": "^(?=x)"}}}, {"a": "look-around is the server's"}, []),
    ({"properties": {"a": {"pattern": "("}}}, {"a": "no pattern"}, []),
    ({"properties": {"a": False}}, {"a": 1}, [("", "is not allowed here")]),
    ({"properties": {"a": {}}, "additionalProperties": False}, {"a": 1, "b": 1}, [("/b", "unknown property")]),
    ({"additionalProperties": {"type": "string"}}, {"b": 1}, [("/b", "must be of type string")]),
    ({"patternProperties": {"^x": {}}, "additionalProperties": False}, {"x1": 1, "y": 1}, [("/y", "unknown property")]),
    ({"patternProperties": {"^x": {"type": "string"}}}, {"x1": 1}, [("/x1", "must be of type string")]),
    ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, {}, [("", "must fit one of the alternatives")]),
    ({"oneOf": [{}, {}]}, {}, [("", "must fit exactly one of the alternatives")]),
    ({"properties": {"l": {"items": {"type": "integer"}}}}, {"l": [1, "x"]}, [("/l/1", "must be of type integer")]),
    ({"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}}, {"a": "x"}, [("/a", "must be of type integer")]),
    ({"$schema": DRAFT_7, "properties": {"a": {"type": "null"}}}, {"a": 1}, [("/a", "must be of type null")]),
    ({"$schema": "urn:made-up", "properties": {"a": {"type": "null"}}}, {"a": 1}, [("/a", "must be of type null")]),
    ({"type": "no such type"}, {"a": 1}, []),
    ({"$ref": "#"}, {}, []),
    ({"$ref": "http://127.0.0.1:9/never-fetched"}, {}, []),
    ({"unevaluatedProperties": False}, {"a": 1}, []),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "arguments", "found"), TABLE)
def test_what_is_said(schema: dict[str, Any], arguments: dict[str, Any], found: list[tuple[str, str]]) -> None:
    assert problems(schema, arguments) == [ArgumentProblem(*one) for one in found]


def test_no_value_is_repeated() -> None:
    for schema, arguments, _ in TABLE:
        assert all("hunter2" not in one.detail.lower() for one in problems(schema, arguments))


def test_a_regular_expression_cannot_take_long() -> None:
    began = time.process_time()
    assert problems({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 50_000 + "b"})
    assert problems({"patternProperties": {"^(a+)+$": False}, "additionalProperties": False}, {"a" * 5000 + "b": 1})
    assert time.process_time() - began < 60  # by backtracking it would take longer than the universe is old


def test_only_some_of_many_problems_are_told() -> None:
    assert len(problems({"additionalProperties": False}, {str(n): n for n in range(1000)})) == MAX_PROBLEMS


def test_a_schema_that_is_too_large_is_left_to_the_server() -> None:
    assert problems({"type": "string", "description": "x" * 2**20}, {}) == []


scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab/~", max_size=3)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
types = st.sampled_from(["string", "integer", "object", "array", "boolean", "null", "number"])
schemas = st.recursive(
    st.fixed_dictionaries({}, optional={"type": types, "enum": st.lists(scalars, min_size=1, max_size=3), "minimum": st.integers(-3, 3)}),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            "required": st.lists(st.sampled_from("abc"), unique=True, max_size=2),
            "additionalProperties": st.booleans() | inner,
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
        },
    ),
    max_leaves=5,
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(schemas, st.dictionaries(st.sampled_from("abc"), values, max_size=3))
def test_it_agrees_with_the_library(schema: dict[str, Any], arguments: dict[str, Any]) -> None:
    assert (problems(schema, arguments) == []) == Draft202012Validator(schema).is_valid(arguments)
