"""The two tools that a route with `findTools` lists instead of its servers' own: `find_tool` finds these, `call_tool` calls one. Pure.

A call by `call_tool` becomes the call of the tool that it names before anything else looks at it, so it is measured, limited,
recorded, permitted and answered as that one. See `endpoint`, `provider`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Json: TypeAlias = Mapping[str, Any]
FIND: Final = "find_tool"
CALL: Final = "call_tool"
PAIR: Final = frozenset({FIND, CALL})
MOST_FOUND: Final = 100
LONGEST_QUERY: Final = 2000

_FOUND: Final[Json] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "description": {"type": "string"},
        "inputSchema": {"type": "object", "description": "JSON Schema of the tool's arguments"},
    },
    "required": ["name", "inputSchema"],
}
DEFINITIONS: Final[Mapping[str, Json]] = {
    FIND: {
        "name": FIND,
        "title": "Find tools",
        "description": (
            "Find tools by what they do. Say in a few words what you want to achieve; the tools that fit are returned, the best"
            " first, each with its name, description and the schema of its arguments. Call one of them with call_tool."
            " If none fits, try other words."
        ),
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": LONGEST_QUERY,
                    "description": "What the tool should do, such as: open an issue in a repository",
                },
                "limit": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MOST_FOUND,
                    "description": "How many tools to return at most",
                },
            },
            "required": ["query"],
            "additionalProperties": False,
        },
        "outputSchema": {
            "type": "object",
            "properties": {"tools": {"type": "array", "items": _FOUND}},
            "required": ["tools"],
        },
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    },
    CALL: {
        "name": CALL,
        "title": "Call a tool",
        "description": "Call a tool that find_tool has found, with arguments that fit its inputSchema. The result is the tool's own.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1, "description": "The tool's name, as find_tool gave it"},
                "arguments": {"type": "object", "description": "By the tool's inputSchema"},
            },
            "required": ["name"],
            "additionalProperties": False,
        },
    },
}


class BadArguments(Exception):
    """What is wrong with the arguments of one of the two, in words for a model that can do better."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `find_tool` is asked for. `limit` None: as many as the configuration says."""

    query: str
    limit: int | None


def wanted(arguments: Any) -> Wanted:
    """Raises BadArguments."""
    arguments = _object(arguments, FIND, {"query", "limit"})
    query, limit = arguments.get("query"), arguments.get("limit")
    if not isinstance(query, str) or not query.strip() or len(query) > LONGEST_QUERY:
        raise BadArguments(f"{FIND} needs a query: a text of 1 to {LONGEST_QUERY} characters")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_FOUND):
        raise BadArguments(f"limit of {FIND} must be a whole number from 1 to {MOST_FOUND}")
    return Wanted(query, limit)


def meant(params: Json) -> dict[str, Any]:
    """Params of a `tools/call` of `call_tool` as those of the call that it means. Raises BadArguments."""
    arguments = _object(params.get("arguments"), CALL, {"name", "arguments"})
    name, own = arguments.get("name"), arguments.get("arguments", {})
    if not isinstance(name, str) or not name:
        raise BadArguments(f"{CALL} needs the name of a tool, as {FIND} gave it")
    if name == CALL:
        raise BadArguments(f"{CALL} cannot call itself: give the name of a tool, as {FIND} gave it")
    if not isinstance(own, dict):
        raise BadArguments(f"arguments of {CALL} must be an object, by the inputSchema of {name}")
    return {**params, "name": name, "arguments": own}


def _object(arguments: Any, tool: str, known: set[str]) -> Json:
    if arguments is None:
        return {}
    if not isinstance(arguments, Mapping):
        raise BadArguments(f"the arguments of {tool} must be an object")
    if strange := sorted(set(arguments) - known):
        raise BadArguments(f"{tool} has no argument {strange[0]}; it has {', '.join(sorted(known))}")
    return arguments


def found(definitions: Iterable[Json]) -> dict[str, Any]:
    """The result of `find_tool`: structured, and the same as text."""
    tools = [{key: d[key] for key in ("name", "description", "inputSchema") if key in d} for d in definitions]
    structured = {"tools": tools}
    text = json.dumps(structured, ensure_ascii=False, separators=(",", ":"))
    return {"content": [{"type": "text", "text": text}], "structuredContent": structured, "isError": False}


def refused(error: BadArguments) -> dict[str, Any]:
    """Of a call with wrong arguments (SEP-1303: a result, so that the model sees it)."""
    return {"content": [{"type": "text", "text": str(error)}], "isError": True}
