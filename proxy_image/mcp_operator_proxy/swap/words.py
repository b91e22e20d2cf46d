"""A validation error in words for whoever wrote the configuration: where it is, and what would be right. Pure.

No value is repeated: it may be a secret.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

MAX_PROBLEMS: Final = 5
_PATTERNS: Final[Mapping[str, str]] = {
    r"^[a-z0-9.-]+/[a-z0-9.-]+$": "must be namespace/name: lower-case letters, digits, '.' and '-'",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "must be letters, digits and '_', not beginning with a digit",
    r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$": "must be the name of an HTTP header, such as Authorization",
    r"^[^\r\n\x00]*$": "must be one line of text",
    r"^[^\x00]*$": "must hold no NUL character",
    r"^[-._a-zA-Z0-9]{1,253}$": "must be a plain file name: letters, digits, '.', '_' and '-'",
    r"^[0-9a-z]{1,64}$": "must be 1 to 64 lower-case letters and digits",
}
_TYPES: Final[Mapping[str, str]] = {
    "extra_forbidden": "unknown field",
    "missing": "required",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "url_type": "must be a URL",
    "url_too_long": "must be a URL of at most 2048 characters",
}
_LIMITS: Final[Mapping[str, str]] = {
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "url_scheme": "must be a URL with the scheme {expected_schemes}",
    "url_parsing": "is not a URL: {error}",
    "url_syntax_violation": "is not a URL: {error}",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
}


def describe(error: ValidationError) -> str:
    """All problems, the first `MAX_PROBLEMS` of them in words."""
    problems = error.errors(include_url=False, include_input=False)
    lines = [f"{_path(problem['loc'])}: {_words(problem)}" for problem in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        lines.append(f"and {len(problems) - MAX_PROBLEMS} more")
    return "; ".join(lines)


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path or "config"


def _words(problem: Any) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    if kind in _TYPES:
        return _TYPES[kind]
    if kind in _LIMITS:
        return _LIMITS[kind].format(**context)
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], f"must match the pattern {context['pattern']}")
    if kind == "string_too_short":
        return "must not be empty" if context["min_length"] == 1 else f"must have {context['min_length']} characters"
    text = str(problem["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
