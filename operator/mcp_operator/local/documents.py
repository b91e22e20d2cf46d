"""YAML and JSON text as documents that know their lines. Pure.

Read as `kubectl` does: a date is a string, `12:30` is no number, keys are strings; a key that stands there twice is an error.
"""

import json
import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import yaml

MAX_DEPTH: Final = 100
MAX_NODES: Final = 200_000
"""Of one document with its aliases written out."""
_BASE: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNREAD: Final = frozenset({"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"})
_INT: Final = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)")
_FLOAT: Final = re.compile(
    r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_MERGE: Final = "tag:yaml.org,2002:merge"


class Unreadable(ValueError):
    """The text is no YAML, or no JSON. `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Loader(_BASE):  # type: ignore[misc]
    """YAML without what JSON lacks: no dates, no numbers to the base 60, and every key is a string."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _UNREAD and not tag.endswith((":int", ":float"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(rf"^(?:{_FLOAT.pattern})$"), list("-+0123456789."))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(rf"^(?:{_INT.pattern})$"), list("-+0123456789"))


@dataclass(frozen=True, slots=True)
class Document:
    """One document: plain data, as JSON would have it. `line` is where it begins, from 1."""

    body: Any
    line: int
    _node: yaml.Node | None = field(default=None, repr=False, compare=False)

    def line_of(self, path: Sequence[int | str]) -> int:
        """Line of the field at `path`, or of the nearest one above it that is there."""
        node, line = self._node, self.line
        for part in path:
            found = _child(node, part)
            if found is None:
                break
            key, node = found
            line = key.start_mark.line + 1
        return line

    def items(self) -> "list[Document]":
        """The objects of a `List`, each with its line; of any other document, itself."""
        if (
            not isinstance(self.body, dict)
            or self.body.get("kind") != "List"
            or not isinstance(self.body.get("items"), list)
        ):
            return [self]
        found = _child(self._node, "items")
        nodes = found[1].value if found and isinstance(found[1], yaml.SequenceNode) else []
        lines = [node.start_mark.line + 1 for node in nodes]
        return [
            Document(body, lines[at] if at < len(lines) else self.line, nodes[at] if at < len(nodes) else None)
            for at, body in enumerate(self.body["items"])
        ]


def read_yaml(text: str) -> list[Document]:
    """Every document of the text that is not empty. Raises Unreadable: for the first thing wrong, wherever it stands."""
    try:
        _check_depth(text)
        return [document for document in _compose(text) if document.body is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unreadable(mark.line + 1 if mark else 1, f"not YAML: {_words(error)}") from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise Unreadable(line, f"not YAML: {getattr(error, 'reason', 'it can not be read')}") from None


def read_json(text: str) -> list[Document]:
    """The one document of the text. Raises Unreadable."""
    try:
        return [Document(json.loads(text, object_pairs_hook=_distinct), 1)]
    except json.JSONDecodeError as error:
        raise Unreadable(error.lineno, f"not JSON: {error.msg}") from None
    except RecursionError:
        raise Unreadable(1, f"nested more than {MAX_DEPTH} deep") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise Unreadable(1, f"the key {key!r} stands there twice")
        seen[key] = value
    return seen


def _compose(text: str) -> Iterator[Document]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            _check_node(node)
            line = node.start_mark.line + 1
            yield Document(_check_types(loader.construct_document(node), line), line, node)
    finally:
        loader.dispose()


def _check_depth(text: str) -> None:
    """Before anything recurses over it: a deep document would exhaust the stack of the composer, which is not Python's."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise Unreadable(_line(event), f"nested more than {MAX_DEPTH} deep")


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _check_node(root: yaml.Node) -> None:
    """Refuse keys that stand twice, aliases that contain themselves, and aliases that multiply without end."""
    sizes: dict[int, int] = {}
    above: set[int] = set()

    def size(node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) in above:
            raise Unreadable(node.start_mark.line + 1, "an alias stands inside of what it refers to")
        if id(node) not in sizes:
            above.add(id(node))
            sizes[id(node)] = 1 + sum(size(child) for child in _checked_children(node))
            above.discard(id(node))
        if sizes[id(node)] > MAX_NODES:
            raise Unreadable(node.start_mark.line + 1, f"more than {MAX_NODES} values, with its aliases written out")
        return sizes[id(node)]

    size(root)


def _checked_children(node: yaml.Node) -> list[yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        return list(node.value)
    seen: set[Hashable] = set()
    for key, _ in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else None
        if name is None:
            raise Unreadable(key.start_mark.line + 1, "a key must be a string")
        if key.tag != _MERGE and name in seen:
            raise Unreadable(key.start_mark.line + 1, f"the key {name!r} stands there twice")
        seen.add(name)
    return [value for _, value in node.value]


def _check_types(value: Any, line: int) -> Any:
    """The value as it is. Raises Unreadable for a type that JSON does not have."""
    seen: set[int] = set()
    open_ends = [value]
    while open_ends:
        item = open_ends.pop()
        if isinstance(item, dict | list):
            if id(item) not in seen:
                seen.add(id(item))
                open_ends += item.values() if isinstance(item, dict) else item
        elif item is not None and not isinstance(item, str | bool | int | float):
            raise Unreadable(line, f"a value of the type {type(item).__name__} can't stand in a manifest")
    return value


def _child(node: yaml.Node | None, part: int | str) -> tuple[yaml.Node, yaml.Node] | None:
    """Where a child begins, and the child."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in reversed(node.value) if key.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item = cast("yaml.Node", node.value[part])
        return item, item
    return None


def _words(error: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (error.context, error.problem) if part]
    return ", ".join(parts) or "it can not be read"
