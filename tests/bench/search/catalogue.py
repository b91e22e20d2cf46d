"""1,000 tools of 40 servers, put together from what is written by hand in `tools.txt` and `verbs.txt`, and 200 queries.

The same every time. Servers differ in how they name and describe their tools, as real ones do.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mcp_operator_proxy.registry.documents import ToolDocument

HERE: Final = Path(__file__).parent
_ABOUT: Final = {
    "cursor": "Where the next page begins",
    "fields": "Values of the new entry",
    "format": "csv, json or xlsx",
    "id": "Identifier",
    "limit": "How many at most",
    "query": "Words to look for",
    "reason": "Why, in a sentence",
    "time": "ISO 8601 date and time",
}
_NUMBERS: Final = frozenset({"amount", "days", "height", "limit", "minutes", "replicas", "score", "width"})


@dataclass(frozen=True)
class Query:
    """`expected` are ids of tools, any of which is right."""

    text: str
    expected: frozenset[str]


@dataclass(frozen=True)
class _Verb:
    arguments: tuple[str, ...]
    phrases: tuple[str, ...]


def tools() -> dict[str, ToolDocument]:
    """By `server/object/verb`, as the queries name them."""
    verbs = {name: _Verb(tuple(arguments.split(", ")), tuple(said)) for name, arguments, *said in _lines("verbs.txt")}
    made: dict[str, ToolDocument] = {}
    server, service, number = "", "", -1
    for parts in _lines("tools.txt"):
        if len(parts) == 2:
            (server, service), number = parts, number + 1
            continue
        name, noun, about, has = parts
        for verb in has.split():
            made[f"{server}/{name}/{verb}"] = ToolDocument(
                id=f"{server}.{_name(number, verb, name)}",
                server=server,
                name=f"{server}_{_name(number, verb, name)}",
                description=_description(number, service, verbs[verb], noun, f" {about}." if len(made) % 3 else ""),
                parameters=_schema(verbs[verb], noun),
            )
    return made


def queries() -> list[Query]:
    named = tools()
    found = []
    for line in _text("queries.txt"):
        text, _, expected = line.partition(" => ")
        found.append(Query(text, frozenset(named[name].id for name in expected.split())))
    return found


def _name(server: int, verb: str, thing: str) -> str:
    """Four habits of naming."""
    styles: tuple[Callable[[], str], ...] = (
        lambda: f"{verb}_{thing}",
        lambda: verb + "".join(word.title() for word in thing.split("_")),
        lambda: f"{thing}_{verb}",
        lambda: f"{verb}-{thing.replace('_', '-')}",
    )
    return styles[server % len(styles)]()


def _description(server: int, service: str, verb: _Verb, noun: str, more: str) -> str:
    one = f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"
    many = (
        f"{noun[:-1]}ies"
        if noun.endswith("y") and noun[-2] not in "aeiou"
        else noun
        if noun.endswith("s")
        else f"{noun}s"
    )
    said = verb.phrases[server % len(verb.phrases)].format(one=one, many=many, noun=noun)
    if server % 2:
        said += f" in {service}"
    return f"{said}.{more}"


def _schema(verb: _Verb, noun: str) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name in verb.arguments:
        about = _ABOUT.get(name, "")
        kind = "object" if name == "fields" else "integer" if name in _NUMBERS else "string"
        properties[name] = {"type": kind, "description": f"{about} of the {noun}" if name == "id" else about}
        if not about:
            del properties[name]["description"]
    return {"type": "object", "properties": properties, "required": list(verb.arguments[:1])}


def _text(name: str) -> Iterator[str]:
    for line in (HERE / name).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.strip()


def _lines(name: str) -> Iterator[list[str]]:
    for line in _text(name):
        yield [part.strip() for part in line.split("|")]
