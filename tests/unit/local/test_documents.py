"""Text to documents.

sound      plain data, as kubectl reads it; lines of documents and of fields; Lists taken apart
unsound    each with the line of what is wrong: syntax, keys twice, aliases, depth, size, types that JSON lacks
"""

from typing import Any

import pytest

from mcp_operator.local.documents import MAX_DEPTH, Unreadable, read_json, read_yaml

BOMB = "\n".join(
    [
        "a: &a [x, x, x, x, x, x, x, x, x, x]",
        *(f"{n}: &{n} [{', '.join([f'*{p}'] * 10)}]" for p, n in zip("abcde", "bcdef", strict=True)),
    ]
)

SOUND: dict[str, tuple[str, list[Any]]] = {
    "several": ("a: 1\n---\nb: 2\n", [{"a": 1}, {"b": 2}]),
    "empty ones count for nothing": ("---\n---\n# a comment\n---\na: 1\n...\n", [{"a": 1}]),
    "nothing": ("", []),
    "a date is a string": ("when: 2026-01-02", [{"when": "2026-01-02"}]),
    "no numbers to the base 60": ("at: 12:30:45", [{"at": "12:30:45"}]),
    "numbers": ("a: -3\nb: 0x1f\nc: .5\nd: 1.5e3\ne: 1_000", [{"a": -3, "b": 31, "c": 0.5, "d": 1500.0, "e": 1000}]),
    "booleans and null": ("a: true\nb: null\nc: ~\nd:", [{"a": True, "b": None, "c": None, "d": None}]),
    "keys are strings": ("1: a\ntrue: b\n1.5: c", [{"1": "a", "true": "b", "1.5": "c"}]),
    "merge": ("base: &b {x: 1, y: 1}\nuse:\n  <<: *b\n  y: 2", [{"base": {"x": 1, "y": 1}, "use": {"x": 1, "y": 2}}]),
    "equals sign": ("a: =", [{"a": "="}]),
    "a block": ("a: |\n  one\n  two\n", [{"a": "one\ntwo\n"}]),
    "JSON in YAML": ('{"a": {"b": [1, "2"]}}', [{"a": {"b": [1, "2"]}}]),
}

UNSOUND: dict[str, tuple[str, int, str]] = {
    "a flow that does not end": ("a: [1\nb: 2", 2, "did not find expected ',' or ']'"),
    "indentation": ("a:\n  b: 1\n c: 2\n", 3, "did not find expected"),
    "a tab": ("a: 1\nb:\n\tc: 1\n", 3, "cannot start any token"),
    "in the last document": ("a: 1\n---\nb: ]\n", 3, "not YAML"),
    "a key twice": ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' stands there twice"),
    "a key twice, deep": ("a:\n- b:\n    c: 1\n    c: 2\n", 4, "the key 'c' stands there twice"),
    "a key that is a list": ("a: 1\n? [x, y]\n: 2\n", 2, "a key must be a string"),
    "an unknown alias": ("a: 1\nb: *x\n", 2, "undefined alias"),
    "an alias in itself": ("a: &a\n- *a\n", 1, "inside of what it refers to"),
    "aliases without end": (BOMB, 6, "values, with its aliases written out"),
    "depth": (f"a: 1\nb: {'[' * (MAX_DEPTH + 1)}", 2, f"nested more than {MAX_DEPTH} deep"),
    "great depth": ("[" * 200_000, 1, f"nested more than {MAX_DEPTH} deep"),
    "a Python object": ("a: !!python/object/apply:os.system [ls]", 1, "could not determine a constructor"),
    "bytes": ("a: !!binary aGFsbG8=", 1, "can't stand in a manifest"),
    "a control character": ("a: 1\nb: \x07\n", 2, "control characters are not allowed"),
}


@pytest.mark.parametrize(("text", "bodies"), SOUND.values(), ids=SOUND)
def test_reads(text: str, bodies: list[Any]) -> None:
    assert [document.body for document in read_yaml(text)] == bodies


@pytest.mark.parametrize(("text", "line", "says"), UNSOUND.values(), ids=UNSOUND)
def test_refuses_with_the_line(text: str, line: int, says: str) -> None:
    with pytest.raises(Unreadable) as refusal:
        read_yaml(text)
    assert says in str(refusal.value)
    assert refusal.value.line == line


def test_knows_the_line_of_every_field() -> None:
    first, second = read_yaml("# head\na: 1\n---\n\nspec:\n  items:\n  - name: x\n    value: 1\n  - name: y\n")
    assert (first.line, second.line) == (2, 5)
    assert second.line_of(("spec", "items", 0, "value")) == 8
    assert second.line_of(("spec", "items", 1, "value")) == 9, "what is missing is shown where it would stand"
    assert second.line_of(("status",)) == 5


def test_takes_a_list_apart() -> None:
    (document,) = read_yaml("kind: List\nitems:\n- kind: A\n- kind: B\n  spec: {x: 1}\n")
    items = document.items()
    assert [item.body["kind"] for item in items] == ["A", "B"]
    assert [item.line for item in items] == [3, 4]
    assert items[1].line_of(("spec", "x")) == 5


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('{\n\t"a": 1,\n\t"b":\n}', 4, "Expecting value"),
        ('{"a": 1, "a": 2}', 1, "the key 'a' stands there twice"),
        ("[" * 200_000, 1, "deep"),
    ],
)
def test_refuses_json(text: str, line: int, says: str) -> None:
    with pytest.raises(Unreadable) as refusal:
        read_json(text)
    assert says in str(refusal.value)
    assert refusal.value.line == line


def test_reads_json_with_tabs() -> None:
    assert [d.body for d in read_json('{\n\t"a": [1]\n}')] == [{"a": [1]}]
