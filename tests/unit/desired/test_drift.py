"""Whether a live object still says what was applied.

a table of differences that are drift, and of those that are none
properties: an object never drifts from itself with what a server and others add, and always when a leaf is changed or gone
the hash: a field that is no longer set
"""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_operator.api.meta import ANNOTATION_APPLIED_HASH
from mcp_operator.desired.drift import drifted, with_hash

Body = dict[str, Any]


def _object(**spec: Any) -> Body:
    return {"metadata": {"name": "a"}, "spec": spec}


SAME: list[tuple[str, Any, Any]] = [
    ("an added field", {"a": 1}, {"a": 1, "b": 2}),
    ("nothing for an empty list", {"a": []}, {}),
    ("nothing for an empty map", {"a": {}}, {}),
    ("null for an empty list", {"a": []}, {"a": None}),
    ("a quantity in another form", {"limits": {"cpu": "1000m"}}, {"limits": {"cpu": "1"}}),
    ("bytes in another form", {"requests": {"memory": "1Gi"}}, {"requests": {"memory": "1024Mi"}}),
    ("a fraction", {"requests": {"cpu": "0.5"}}, {"requests": {"cpu": "500m"}}),
    ("an exponent", {"requests": {"memory": "1e3"}}, {"requests": {"memory": "1k"}}),
    ("an added variable", {"env": [{"name": "A"}]}, {"env": [{"name": "B"}, {"name": "A"}]}),
    (
        "an added port field",
        {"ports": [{"name": "p", "port": 1}]},
        {"ports": [{"name": "p", "port": 1, "nodePort": 2}]},
    ),
    (
        "another owner of the same name",
        {"ownerReferences": [{"name": "x", "uid": "1"}]},
        {"ownerReferences": [{"name": "x", "uid": "1"}, {"name": "x", "uid": "2"}]},
    ),
]
OTHER: list[tuple[str, Any, Any]] = [
    ("a changed field", {"a": 1}, {"a": 2}),
    ("a field that is gone", {"a": {"b": 1}}, {"a": {}}),
    ("a map that is gone", {"a": {"b": 1}}, {}),
    ("another type", {"a": {"b": 1}}, {"a": "b"}),
    ("false for nothing", {"a": False}, {}),
    ("an added argument", {"args": ["a"]}, {"args": ["a", "b"]}),
    ("another order of arguments", {"args": ["a", "b"]}, {"args": ["b", "a"]}),
    ("a changed variable", {"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "A", "value": "2"}]}),
    ("a variable that is gone", {"env": [{"name": "A"}]}, {"env": [{"name": "B"}]}),
    ("a list that is gone", {"env": [{"name": "A"}]}, {}),
    ("another quantity", {"limits": {"cpu": "1"}}, {"limits": {"cpu": "2"}}),
    ("an added label of a selector", {"selector": {"a": "b"}}, {"selector": {"a": "b", "c": "d"}}),
    ("an added expression", {"podSelector": {}}, {"podSelector": {"matchExpressions": [{"key": "a"}]}}),
    ("no quantity", {"limits": {"cpu": "1"}}, {"limits": {"cpu": "one"}}),
    ("what looks like a quantity and is none", {"args": ["1000m"]}, {"args": ["1"]}),
    ("a name that looks like a quantity", {"value": "1k"}, {"value": "1000"}),
]


@pytest.mark.parametrize(("desired", "live"), [case[1:] for case in SAME], ids=[case[0] for case in SAME])
def test_no_drift(desired: Body, live: Body) -> None:
    assert not drifted(_object(**desired), _object(**live))


@pytest.mark.parametrize(("desired", "live"), [case[1:] for case in OTHER], ids=[case[0] for case in OTHER])
def test_drift(desired: Body, live: Body) -> None:
    assert drifted(_object(**desired), _object(**live))


def test_what_is_missing_has_drifted() -> None:
    assert drifted(_object(), None)


def test_a_field_that_is_no_longer_set_is_noticed() -> None:
    before, after = with_hash(_object(a=1, b=2)), with_hash(_object(a=1))
    assert not drifted({**after, "metadata": _object()["metadata"]}, before), "but for the hash there is nothing to see"
    assert drifted(after, before)


def test_the_hash_leaves_the_object_as_it_was() -> None:
    plain = {"metadata": {"name": "a", "annotations": {"mine": "x"}}}
    kept = copy.deepcopy(plain)
    hashed = with_hash(plain)
    assert plain == kept
    assert hashed["metadata"]["annotations"].keys() == {"mine", ANNOTATION_APPLIED_HASH}
    assert drifted(hashed, plain)


NAMES = st.sampled_from(["a", "b", "env", "requests", "value"])
LEAVES = st.one_of(st.booleans(), st.integers(-5, 5), st.text("abc", max_size=3), st.sampled_from(["1", "1k", "500m"]))
NAMED = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("pqrs"), "value": LEAVES}), unique_by=lambda item: item["name"]
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.dictionaries(NAMES, inner, max_size=3), st.lists(inner, max_size=3), NAMED),
    max_leaves=8,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=4).map(lambda spec: with_hash(_object(**spec)))


@given(OBJECTS, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_what_others_add_is_no_drift(desired: Body, random: Any) -> None:
    live = _with_additions(desired, random)
    live["status"] = {"ready": True}
    live["metadata"] |= {"uid": "u", "resourceVersion": "7", "managedFields": [{"manager": "x"}]}
    assert not drifted(desired, live)


@given(OBJECTS, st.data())
@settings(max_examples=200, deadline=None)
def test_a_changed_leaf_is_drift(desired: Body, data: st.DataObject) -> None:
    live = copy.deepcopy(desired)
    holder, key = data.draw(st.sampled_from([*_leaves(live)]))
    holder[key] = "something else"
    assert drifted(desired, live)


def _with_additions(value: Any, random: Any) -> Any:
    """Maps get a field that nobody applied; lists of named elements another element, and another order."""
    if isinstance(value, dict):
        return {"extra": "x", **{key: _with_additions(item, random) for key, item in value.items()}}
    if isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        items = [*(_with_additions(item, random) for item in value), {"name": "extra"}]
        random.shuffle(items)
        return items
    if isinstance(value, list):
        return [_with_additions(item, random) for item in value]
    return value


def _leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, dict | list):
            yield from _leaves(item)
        else:
            yield value, key
