"""Policies in the Cedar language as their author writes them: read, with errors that name the line. Imports an extra. Pure."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import cedarpy

_TOKEN: Final = re.compile(r'//[^\n]*|"(?:\\.|[^"\\])*"|;', re.DOTALL)


class BadPolicies(Exception):
    """The text is not Cedar; the message names the line of the policy."""


def parse(text: str) -> "tuple[cedarpy.PolicySet, dict[str, dict[str, Any]]]":
    """The policies, and each by its name in Cedar's JSON form. Raises BadPolicies."""
    try:
        policies = cedarpy.PolicySet.from_str(text)
        parsed: dict[str, Any] = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        raise BadPolicies(_located(text, str(error))) from None
    except RecursionError:
        raise BadPolicies("a policy is nested too deep") from None
    if parsed.get("templates"):
        raise BadPolicies(f"line {_first_template(text)}: a template (?principal, ?resource) permits nothing by itself")
    return policies, parsed.get("staticPolicies", {})


def statements(text: str) -> Iterator[tuple[int, str]]:
    """The policies of a text one by one, each with the number of the line that it begins in. Pure."""
    start = 0
    ends = [found.end() for found in _TOKEN.finditer(text) if found[0] == ";"]
    for end in [*ends, len(text)]:
        body = text[start:end]
        code = _begin(body)
        if code < len(body):
            yield text.count("\n", 0, start + code) + 1, body
        start = end


def _begin(body: str) -> int:
    """Where the code begins behind blanks and comments."""
    found = re.match(r"(?:\s+|//[^\n]*)*", body)
    return found.end() if found else 0


def _located(text: str, message: str) -> str:
    for line, body in statements(text):
        try:
            cedarpy.PolicySet.from_str(body)
        except ValueError as error:
            return f"the policy that begins in line {line}: {error}"
    return message


def _first_template(text: str) -> int:
    return next(
        (line for line, body in statements(text) if json.loads(cedarpy.policies_to_json_str(body))["templates"]), 1
    )
