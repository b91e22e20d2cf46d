"""Differences as people read them."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_operator_proxy.pinning.diff import MOST_CHARACTERS, difference
from mcp_operator_proxy.pinning.visible import is_hidden, visible


def told(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return difference(json.dumps(old), json.dumps(new)).splitlines()


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 1.0}, ["a: 1 -> 1.0"]),
        ({"a": True}, {"a": 1}, ["a: true -> 1"]),
        ({"a": 1}, {}, ["a: 1 -> (nothing)"]),
        ({}, {"a": {"b": "c"}}, ['a: (nothing) -> {"b": "c"}']),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2, "d": 3}}}, ["a.b.c: 1 -> 2", "a.b.d: (nothing) -> 3"]),
        ({"a": {"x y": 1}}, {"a": {"x y": 2}}, ['a["x y"]: 1 -> 2']),
        ({"a": ["x", "y"]}, {"a": ["y"]}, ['a: ["x", "y"] -> ["y"]']),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}, 3]}, ["a[0].b: 1 -> 2", "a[1]: (nothing) -> 3"]),
        ({"d": "Adds."}, {"d": "Adds. Quietly."}, ['d: "Adds." -> "Adds. Quietly."']),
        ({"d": "a\nb"}, {"d": "a\tb"}, ['d: "a\\nb" -> "a\\tb"']),
        ({"d": 'say "x"'}, {"d": "say \\x"}, ['d: "say \\"x\\"" -> "say \\\\x"']),
        ({"d": "admin"}, {"d": "\u0430dmin"}, ['d: "admin" -> "\\u{430}dmin"']),
        ({"d": "café"}, {"d": "cafe\u0301"}, ['d: "caf\\u{e9}" -> "cafe\\u{301}"']),
        ({"d": "ab"}, {"d": "a\u200bb"}, ['d: "ab" -> "a\\u{200b}b"']),
        ({"d": "ab"}, {"d": "a\u202eb"}, ['d: "ab" -> "a\\u{202e}b"']),
        ({"d": "ab"}, {"d": "a\U000e0041b"}, ['d: "ab" -> "a\\u{e0041}b"']),
        ({"d": "ab"}, {"d": "a\ufe03b"}, ['d: "ab" -> "a\\u{fe03}b"']),
        ({"d": "ab"}, {"d": "a\u2028b"}, ['d: "ab" -> "a\\u{2028}b"']),
        ({}, {"d": {"k\u200b": "\u202e"}}, ['d: (nothing) -> {"k\\u{200b}": "\\u{202e}"}']),
        ({"p": {}}, {"p": {"k\u202e": 1}}, ['p["k\\u{202e}"]: (nothing) -> 1']),
    ],
)
def test_a_line_for_each_place(old: dict[str, Any], new: dict[str, Any], lines: list[str]) -> None:
    assert told(old, new) == lines


def test_of_long_texts_what_differs_is_shown() -> None:
    before = "word " * 200
    assert told({"d": before + "end. " + before}, {"d": before + "END! " + before}) == [
        'd: "…word word word word end. word word word word…" -> "…word word word word END! word word word word…"'
    ]


def test_a_long_addition_is_clipped_and_counted() -> None:
    (line,) = told({"d": ""}, {"d": "x" * 1000})
    assert line == f'd: "" -> "{"x" * 300}… (700 characters more)"'


def test_a_flood_is_bounded_and_counted() -> None:
    text = difference("{}", json.dumps({"a": {f"k{i}": i for i in range(9)}, **{f"p{i:04}": i for i in range(5000)}}))
    assert len(text) <= MOST_CHARACTERS
    assert text.endswith(" more differences")


def test_one_enormous_path_is_clipped() -> None:
    assert len(difference("{}", json.dumps({"x" * 100_000: 1}))) <= MOST_CHARACTERS


def test_what_lies_very_deep_is_one_value() -> None:
    old: Any = 1
    new: Any = 2
    for _ in range(100):
        old, new = {"a": old}, {"a": new}
    (line,) = told({"s": old}, {"s": new})
    assert line.startswith("s.a.a")


HOSTILE = st.text(alphabet=st.characters(), max_size=30)


@settings(max_examples=50)
@given(st.dictionaries(HOSTILE, HOSTILE, max_size=4), st.dictionaries(HOSTILE, HOSTILE, max_size=4))
def test_nothing_hidden_reaches_the_reader(old: dict[str, str], new: dict[str, str]) -> None:
    text = difference(json.dumps(old), json.dumps(new))
    assert not any(is_hidden(character) for character in text if character != "\n")
    assert (text == "") == (old == new)
    text.encode()


@settings(max_examples=50)
@given(HOSTILE, HOSTILE)
def test_two_texts_are_never_shown_alike(one: str, other: str) -> None:
    assert (visible(one) == visible(other)) == (one == other)
