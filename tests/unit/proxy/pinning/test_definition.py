"""What counts of a definition, whatever it holds."""

import copy
import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mcp_operator_proxy.backends.digest import digest
from mcp_operator_proxy.config import Pin, Server
from mcp_operator_proxy.pinning.definition import FIELDS, TooDeep, canonical, digest_of, tool_digest
from mcp_operator_proxy.pinning.judge import Approval, pins_of, unapproved

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=3)
TOOLS = st.fixed_dictionaries(
    {"name": st.text(min_size=1, max_size=8), "inputSchema": OBJECTS},
    optional={"title": st.text(), "description": st.text(), "outputSchema": OBJECTS, "annotations": OBJECTS},
)


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=50)
@given(TOOLS)
def test_the_order_of_keys_white_space_and_what_is_not_pinned_do_not_count(tool: dict[str, Any]) -> None:
    other = json.loads(json.dumps(reordered(tool), indent=3)) | {"_meta": {"a": 1}, "icons": []}
    assert tool_digest(other) == tool_digest(tool)


@settings(max_examples=50)
@given(TOOLS, st.sampled_from(FIELDS), VALUES)
def test_any_other_value_of_any_field_counts(tool: dict[str, Any], field: str, value: Any) -> None:
    assume(json.dumps(tool.get(field), sort_keys=True) != json.dumps(value, sort_keys=True))
    assert tool_digest(tool | {field: value}) != tool_digest(tool)


@settings(max_examples=50)
@given(TOOLS, st.data())
def test_any_change_within_a_schema_is_noticed_and_told(tool: dict[str, Any], data: st.DataObject) -> None:
    changed = copy.deepcopy(tool)
    key = data.draw(st.text(max_size=5))
    changed["inputSchema"][key] = data.draw(VALUES)
    assume(json.dumps(changed, sort_keys=True) != json.dumps(tool, sort_keys=True))
    (told,) = unapproved([changed], pins_of([tool]))
    assert told.kind == "changed"
    assert told.diff.startswith("inputSchema")
    assert told.digest == tool_digest(changed)
    assert told.approved == (tool_digest(tool),)


def test_the_order_of_a_list_counts() -> None:
    assert tool_digest(wants("a", "b")) != tool_digest(wants("b", "a"))


def wants(*names: str) -> dict[str, Any]:
    return {"name": "t", "inputSchema": {"required": list(names)}}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("caf\u00e9", "cafe\u0301"),  # NFC and NFD
        ("a", "\u0430"),
        ("ab", "a\u200bb"),
        ("a", "a\ufe0f"),
        ("a", "a "),
        ("1", 1),
        (1, 1.0),
        (1, True),
        (0, False),
        ({}, []),
    ],
)
def test_texts_and_values_that_merely_look_alike_are_two(one: Any, other: Any) -> None:
    before, after = ({"name": "t", "inputSchema": {"const": value}} for value in (one, other))
    assert tool_digest(before) != tool_digest(after)
    assert unapproved([after], pins_of([before]))[0].diff


def test_a_null_field_is_an_absent_one() -> None:
    assert tool_digest({"name": "t", "title": None}) == tool_digest({"name": "t"})


def test_half_a_character_has_a_digest() -> None:
    assert tool_digest({"name": "t", "description": "\ud800"}).startswith("sha256:")


def test_the_digest_of_a_catalogue_is_of_the_same_definitions() -> None:
    tools = [{"name": "b"}, {"name": "a", "description": "x"}]
    assert digest(tools) == digest(list(reversed(tools)))
    assert digest(tools) != digest(tools[:1])


def deep() -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(100_000):
        schema = {"not": schema}
    return {"name": "deep", "inputSchema": schema}


def test_what_is_nested_without_end_is_approved_by_nothing() -> None:
    tool = deep()
    with pytest.raises(TooDeep):
        canonical(tool)
    assert tool_digest(tool) == ""
    assert pins_of([tool]) == ()
    assert digest([tool]).startswith("sha256:")
    server = Server(id="ns/s", url="http://h/mcp", pinning="enforce", pins=(pin("deep"),))
    assert not Approval(server).covers(tool)
    assert unapproved([tool], server.pins)[0].diff == "its definition is nested too deep to be compared"


def pin(tool: str, text: str = "x", definition: str | None = None) -> Pin:
    return Pin(tool=tool, digest=digest_of(text), definition=definition)


@pytest.mark.parametrize(("mode", "served"), [("off", True), ("warn", True), ("enforce", False)])
def test_only_enforce_keeps_a_tool_from_its_callers(mode: str, served: bool) -> None:
    server = Server.model_validate({"id": "ns/s", "url": "http://h/mcp", "pinning": mode})
    assert Approval(server).covers({"name": "t"}) is served


def test_new_and_gone_tools_are_told_by_name() -> None:
    found = unapproved(
        [{"name": "new", "description": "Hello."}, {"name": "kept"}], pins_of([{"name": "kept"}, {"name": "gone"}])
    )
    assert [(one.tool, one.kind, one.diff) for one in found] == [
        ("gone", "gone", ""),
        ("new", "new", 'description: (nothing) -> "Hello."\nname: (nothing) -> "new"'),
    ]
    assert found[0].digest == ""
    assert found[0].approved == (tool_digest({"name": "gone"}),)


def test_of_two_tools_of_one_name_each_is_judged_by_itself() -> None:
    good, bad = {"name": "t"}, {"name": "t", "description": "Changed."}
    assert pins_of([good, bad]) == pins_of([good])
    (told,) = unapproved([bad, good, bad], pins_of([good]))
    assert told.digest == tool_digest(bad)


def test_several_definitions_of_a_tool_may_be_approved() -> None:
    old, new = {"name": "t"}, {"name": "t", "description": "New."}
    pins = (*pins_of([old]), *pins_of([new]))
    Server(id="ns/s", url="http://h/mcp", pinning="enforce", pins=pins)
    assert unapproved([old], pins) == unapproved([new], pins) == []


def test_without_the_approved_definition_only_that_something_changed_is_told() -> None:
    (told,) = unapproved([{"name": "t", "description": "x"}], [pin("t")])
    assert (told.kind, told.diff) == ("changed", "")


def test_the_same_pin_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pins the tool t as sha256:.* twice"):
        Server(id="ns/s", url="http://h/mcp", pins=(pin("t"), pin("t")))
