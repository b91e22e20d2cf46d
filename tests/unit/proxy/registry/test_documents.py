"""What is read of a tool, and into which words it is taken apart."""

from typing import Any

import pytest

from mcp_operator_proxy.registry.documents import DEEPEST, MOST_WORDS, ToolDocument, arguments, stems, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("create_pull_request", ["create", "pull", "request"]),
        ("createPullRequest", ["create", "pull", "request"]),
        ("HTTPServerError2xx", ["http", "server", "error", "2", "xx"]),
        ("list-S3-buckets.v2", ["list", "s", "3", "buckets", "v", "2"]),
        ("Öffne das Tor, 天気!", ["öffne", "das", "tor", "天気"]),
        ("", []),
        ("__--!!", []),
    ],
)
def test_words_of_identifiers_and_prose(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_stems_bring_forms_of_a_word_together_and_leave_out_what_says_nothing() -> None:
    assert stems("opening the requests") == stems("opens request") == ["open", "request"]
    assert stems("to the of") == []


def nested(depth: int) -> dict[str, Any]:
    return {"properties": {f"p{depth}": {"description": f"level {depth}", **(nested(depth - 1) if depth else {})}}}


@pytest.mark.parametrize(
    ("schema", "found"),
    [
        ({}, []),
        ({"properties": {"a": {"description": "first"}, "b": {}}}, [("a", "first"), ("b", "")]),
        ({"properties": {"a": {"items": {"properties": {"c": {"description": "deep"}}}}}}, [("a", ""), ("c", "deep")]),
        ({"properties": "nonsense", "items": [1]}, []),
        ({"properties": {"a": True, "b": {"description": 7}}}, [("b", "")]),
    ],
)
def test_arguments_are_read_and_nonsense_is_passed_over(schema: dict[str, Any], found: list[tuple[str, str]]) -> None:
    assert list(arguments(schema)) == found


def test_a_schema_is_not_followed_for_ever() -> None:
    assert len(list(arguments(nested(50)))) == DEEPEST


def test_a_long_description_does_not_outweigh_all_others() -> None:
    tool = ToolDocument("s.t", "s", "find", description="word " * 10_000)
    assert len(tool.terms()) <= MOST_WORDS + 3
