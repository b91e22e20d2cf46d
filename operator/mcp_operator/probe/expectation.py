"""Whether the answer of a tool is what was expected, and if not, in words that hold nothing of the answer. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from mcp_operator.api.scalars import finder

MAX_TEXT: Final = 2**20
"""Characters of an answer's text that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What must hold of an answer; what is None is not looked at."""

    contains: str | None = None
    matches: str | None = None
    """A regular expression that `finder` takes."""
    structured: Mapping[str, Any] | None = None
    """Fields that the structured answer must have, with these values; objects in it may have more fields."""


def difference(answer: Mapping[str, Any], expected: Expectation) -> str | None:
    """In what a `CallToolResult` (wire form) is not as expected; None where it is.

    The words name fields of the expectation and kinds of values. What the server sent does not stand in them: it may be
    anything, and a status is read by more people than a tool is called by.
    """
    text = answer_text(answer)
    if expected.contains is not None and expected.contains not in text:
        return _lacking(text, "does not contain what expect.contains says")
    if expected.matches is not None and not _is_found(expected.matches, text):
        return _lacking(text, "does not match expect.matches")
    if expected.structured is None:
        return None
    structured = answer.get("structuredContent")
    if structured is None:
        return "the answer has no structured content"
    return _unlike(expected.structured, structured, "")


def answer_text(answer: Mapping[str, Any]) -> str:
    """The text parts of an answer, one after the other, a line each at least."""
    parts = answer.get("content") or ()
    return "\n".join(part.get("text") or "" for part in parts if part.get("type") == "text")[:MAX_TEXT]


def _lacking(text: str, what: str) -> str:
    return f"the answer's text {what}" if text else "the answer has no text"


def _is_found(pattern: str, text: str) -> bool:
    try:
        finder(pattern).validate_python(text)
    except ValidationError:
        return False
    return True


def _unlike(expected: Any, found: Any, where: str) -> str | None:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for name, value in expected.items():
            path = f"{where}.{name}" if where else name
            if name not in found:
                return f"the structured answer lacks {path}"
            if (words := _unlike(value, found[name], path)) is not None:
                return words
        return None
    if (kind := _kind(expected)) != _kind(found):
        return f"in the structured answer, {where or 'the whole'} is {_kind(found)} where {kind} is expected"
    if expected == found:
        return None
    return f"in the structured answer, {where} is {kind} other than the one expected"


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case Mapping():
            return "an object"
    return "a list"
