"""Constraints with two readers: CEL for the API server, a Python check for whoever reads manifests without one.

Both give the same message, so a manifest is refused in the same words by `kubectl apply` and by `mcp-operator local`.
"""

import json
import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

VALIDATIONS: Final = "x-kubernetes-validations"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rule:
    """One constraint of a value: `cel` over `self`, and `holds` over the validated value.

    As annotation of a type it constrains that field; in `ApiModel.invariants` it constrains a whole object.
    Source: Kubernetes, "Validation rules" of custom resources (KEP-2876).
    """

    cel: str
    message: str
    holds: Callable[[Any], bool]

    def check(self, value: T) -> T:
        """Give the value back, or raise ValueError with the message."""
        if not self.holds(value):
            raise ValueError(self.message)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return with_rules(handler(schema), [self])


def with_rules(schema: JsonSchemaValue, rules: Iterable[Rule]) -> JsonSchemaValue:
    """The schema with those of the rules that it lacks put behind those that it has."""
    known = schema.get(VALIDATIONS, [])
    validations = [{"rule": rule.cel, "message": rule.message} for rule in rules]
    missing = [validation for validation in validations if validation not in known]
    return {**schema, VALIDATIONS: [*known, *missing]} if missing else schema


@dataclass(frozen=True, slots=True)
class Pattern:
    """The whole string matches, said by JSON schema's `pattern`: for strings in lists of lists, where CEL costs too much."""

    pattern: str
    message: str

    def check(self, value: str) -> str:
        """Give the value back, or raise ValueError with the message."""
        if not re.fullmatch(self.pattern, value):
            raise ValueError(self.message)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "pattern": self.pattern}


def matching(pattern: str, message: str) -> Rule:
    """The whole string matches `pattern`, which must mean the same in RE2 and in `re`: no look-around.

    Unlike JSON schema's `pattern`, the refusal says what is wanted rather than which expression failed.
    """
    compiled = re.compile(pattern)
    return Rule(f"self.matches({literal(pattern)})", message, lambda value: compiled.fullmatch(value) is not None)


def keys_matching(pattern: str, message: str) -> Rule:
    """Every key of the map matches `pattern`; structural schemas have no `propertyNames`."""
    compiled = re.compile(pattern)
    cel = f"self.all(key, key.matches({literal(pattern)}))"
    return Rule(cel, message, lambda value: all(compiled.fullmatch(key) for key in value))


def one_of_fields(*fields: str) -> str:
    """CEL: exactly one of the optional fields is set."""
    return f"[{', '.join(f'has(self.{field})' for field in fields)}].filter(x, x).size() == 1"


def is_distinct(values: Iterable[Hashable]) -> bool:
    listed = list(values)
    return len(set(listed)) == len(listed)


def literal(text: str) -> str:
    """A CEL string literal, raw where that is possible, as expressions read better so."""
    return f"r'{text}'" if "'" not in text and text.isprintable() else json.dumps(text)
