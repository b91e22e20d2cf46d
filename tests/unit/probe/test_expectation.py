"""What an answer lacks of an expectation, in words that hold nothing of the answer: a table."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_operator.api.scalars import finder
from mcp_operator.probe.expectation import MAX_TEXT, Expectation, answer_text, difference

SECRET = "hunter2"


def text(*parts: str, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": part} for part in parts], **more}


def structured(**fields: Any) -> dict[str, Any]:
    return text("…", structuredContent=fields)


CASES: list[tuple[str, dict[str, Any], Expectation, str | None]] = [
    ("nothing expected", text(SECRET), Expectation(), None),
    ("nothing expected, nothing there", {}, Expectation(), None),
    ("contains", text("it is 42 now"), Expectation(contains="42"), None),
    ("contains, over two parts", text("a", "b"), Expectation(contains="a\nb"), None),
    ("does not contain", text(SECRET), Expectation(contains="42"), "the answer's text does not contain what expect.contains says"),
    ("no text", {"content": [{"type": "image", "data": "x"}]}, Expectation(contains="42"), "the answer has no text"),
    ("matches anywhere", text("it is 42 now"), Expectation(matches=r"\d\d"), None),
    ("matches the whole", text("42"), Expectation(matches=r"^\d+$"), None),
    ("does not match", text(f"42{SECRET}"), Expectation(matches=r"^\d+$"), "the answer's text does not match expect.matches"),
    ("both must hold", text("42"), Expectation(contains="4", matches="^2"), "the answer's text does not match expect.matches"),
    ("structured", structured(result=3, more=1), Expectation(structured={"result": 3}), None),
    ("structured, 3 and 3.0", structured(result=3.0), Expectation(structured={"result": 3}), None),
    ("structured, deep", structured(a={"b": [1, {"c": None}], "x": 1}), Expectation(structured={"a": {"b": [1, {"c": None}]}}), None),
    ("structured, nothing in it", structured(), Expectation(structured={}), None),
    ("structured, not there", text("3"), Expectation(structured={"result": 3}), "the answer has no structured content"),
    ("structured, lacking", structured(a={}), Expectation(structured={"a": {"b": 1}}), "the structured answer lacks a.b"),
    ("structured, other value", structured(a={"b": SECRET}), Expectation(structured={"a": {"b": "x"}}),
     "in the structured answer, a.b is a text other than the one expected"),
    ("structured, other kind", structured(a=SECRET), Expectation(structured={"a": 1}),
     "in the structured answer, a is a text where a number is expected"),
    ("structured, true is not 1", structured(a=True), Expectation(structured={"a": 1}),
     "in the structured answer, a is a boolean where a number is expected"),
    ("structured, null", structured(a=None), Expectation(structured={"a": {}}),
     "in the structured answer, a is null where an object is expected"),
    ("structured, lists as a whole", structured(a=[1, 2, 3]), Expectation(structured={"a": [1, 2]}),
     "in the structured answer, a is a list other than the one expected"),
    ("structured, no object at all", text("", structuredContent=[1]), Expectation(structured={}),
     "in the structured answer, the whole is a list where an object is expected"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "expected", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_table(answer: dict[str, Any], expected: Expectation, words: str | None) -> None:
    found = difference(answer, expected)
    assert found == words
    assert SECRET not in str(found)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_everything_is_like_itself(value: Any) -> None:
    assert difference({"structuredContent": {"it": value, "more": 1}}, Expectation(structured={"it": value})) is None


def test_the_expression_of_a_stranger_takes_linear_time() -> None:
    """With backtracking this would take longer than the universe has."""
    words = difference(text("a" * 5000 + "!"), Expectation(matches="^(a+)+$"))
    assert words == "the answer's text does not match expect.matches"


def test_of_a_huge_answer_the_beginning_is_looked_at() -> None:
    assert len(answer_text(text("x" * (MAX_TEXT + 5)))) == MAX_TEXT


@pytest.mark.parametrize("pattern", ["(", "(?=a)", r"(a)\1", "a{1000}{1000}{1000}"])
def test_what_is_no_expression(pattern: str) -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        finder(pattern)
