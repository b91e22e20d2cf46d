"""Whether the arguments of a call fit the tool's schema (JSON Schema, by default of 2020-12). Pure; schemas come from servers.

Nothing is fetched, no regular expression can take long (Rust's engine, linear in its input), and no value is repeated in
what is said, as it may be a secret. What cannot be checked is left to the server.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for
from jsonschema_specifications import REGISTRY
from pydantic_core import SchemaError as BadPattern
from pydantic_core import SchemaValidator, core_schema
from referencing.exceptions import Unresolvable

logger = logging.getLogger(__name__)
MAX_PROBLEMS: Final = 10
MAX_TEXT: Final = 200
MAX_SCHEMA: Final = 1024 * 1024
"""Characters of a schema as JSON; arguments are not checked by a larger one."""


@dataclass(frozen=True, slots=True)
class ArgumentProblem:
    """`pointer` is a JSON pointer (RFC 6901) into the arguments, empty for all of them."""

    pointer: str
    detail: str


def problems(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[ArgumentProblem]:
    """What is wrong with `arguments`; at most `MAX_PROBLEMS`."""
    validator = _compiled(json.dumps(schema))
    if validator is None:
        return []
    try:
        return [_problem(error) for error in islice(validator.iter_errors(arguments), MAX_PROBLEMS)]
    except (Unresolvable, RecursionError, SchemaError) as error:
        logger.debug("a schema cannot be used: %s", type(error).__name__)
        return []


def pointer(path: "Iterator[str | int] | tuple[str | int, ...]") -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


@lru_cache(maxsize=4096)
def _compiled(text: str) -> Any:
    """A validator, or None: by the schema's text, so that equal definitions of any table share it."""
    if len(text) > MAX_SCHEMA:
        return None
    schema = json.loads(text)
    base = validator_for(schema, default=Draft202012Validator)
    try:
        base.check_schema(schema)
    except (SchemaError, RecursionError):
        return None
    return _safe(base)(schema, registry=REGISTRY)


@lru_cache(maxsize=16)
def _safe(base: type[Validator]) -> Any:
    """The same keywords, with linear regular expressions."""
    return extend(  # type: ignore[no-untyped-call]
        base,
        {
            "pattern": _pattern,
            "patternProperties": _pattern_properties,
            "additionalProperties": _additional_properties,
            "unevaluatedProperties": _unchecked,
        },
    )


def _pattern(_: Any, pattern: Any, instance: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError("does not match the pattern")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for pattern, schema in patterns.items():
            for name, value in instance.items():
                if _matches(pattern, name):
                    yield from validator.descend(value, schema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, rest: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, value in instance.items():
        if name in known or any(_matches(pattern, name) for pattern in patterns):
            continue
        if rest is False:
            yield ValidationError("unknown property", path=[name])
        elif isinstance(rest, dict):
            yield from validator.descend(value, rest, path=name)


def _unchecked(*_: Any) -> Iterator[ValidationError]:
    """The library's way goes by Python's regular expressions."""
    return iter(())


def _matches(pattern: str, text: str) -> bool:
    regex = _regex(pattern)
    if regex is None:
        return True
    return regex.isinstance_python(text)


@lru_cache(maxsize=4096)
def _regex(pattern: str) -> SchemaValidator | None:
    """None for what Rust's engine does not know, such as look-around: the server checks it."""
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except (BadPattern, TypeError):
        return None


def _problem(error: ValidationError) -> ArgumentProblem:
    path: tuple[str | int, ...] = tuple(error.absolute_path)
    keyword, wanted = error.validator, error.validator_value
    if keyword == "required" and isinstance(wanted, list) and isinstance(error.instance, dict):
        missing = next((name for name in wanted if name not in error.instance and f"'{name}'" in error.message), None)
        if missing is not None:
            return ArgumentProblem(pointer((*path, missing)), "is required")
    return ArgumentProblem(pointer(path), _words(str(keyword), wanted, error.message))


def _words(keyword: str, wanted: Any, message: str) -> str:
    text = json.dumps(wanted, ensure_ascii=False)
    shown = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
    match keyword:
        case "type":
            return f"must be of type {' or '.join(wanted) if isinstance(wanted, list) else wanted}"
        case "enum":
            return f"must be one of {shown}"
        case "additionalProperties":
            return "unknown property" if message == "unknown property" else "is not allowed here"
        case "anyOf" | "oneOf":
            return (
                "must fit one of the alternatives" if keyword == "anyOf" else "must fit exactly one of the alternatives"
            )
        case "None":
            return "is not allowed here"
        case _:
            return f"must fit {keyword}: {shown}"
