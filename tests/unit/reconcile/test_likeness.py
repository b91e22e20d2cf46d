"""What is remembered of objects that look different from what is desired and are the same."""

from typing import Any

import pytest

from mcp_operator.engine.keys import Key
from mcp_operator.reconcile.likeness import Likeness

KEY, OTHER = Key("Deployment", "team-a", "one"), Key("Deployment", "team-a", "two")
DESIRED: dict[str, Any] = {"metadata": {"name": "one"}, "spec": {"a": False}}
LIVE: dict[str, Any] = {
    "metadata": {"name": "one", "resourceVersion": "7", "generation": 1, "labels": {"a": "b"}},
    "spec": {"b": 1},
}


def _live(**changed: Any) -> dict[str, Any]:
    return {**LIVE, **changed, "metadata": {**LIVE["metadata"], **changed.get("metadata", {})}}


@pytest.fixture
def likeness() -> Likeness:
    found = Likeness(most=1)
    found.note(KEY, DESIRED, LIVE)
    return found


@pytest.mark.parametrize(
    "live", [LIVE, _live(status={"replicas": 3}), _live(metadata={"resourceVersion": "9", "generation": 2})]
)
def test_it_holds(likeness: Likeness, live: dict[str, Any]) -> None:
    assert likeness.holds(KEY, DESIRED, live)


@pytest.mark.parametrize("live", [_live(spec={"b": 2}), _live(metadata={"labels": {}}), _live(metadata={"uid": "x"})])
def test_not_of_an_object_that_was_changed(likeness: Likeness, live: dict[str, Any]) -> None:
    assert not likeness.holds(KEY, DESIRED, live)


def test_not_of_another_wish_or_another_object(likeness: Likeness) -> None:
    assert not likeness.holds(KEY, {**DESIRED, "spec": {"a": True}}, LIVE)
    assert not likeness.holds(OTHER, DESIRED, LIVE)


def test_the_oldest_is_forgotten(likeness: Likeness) -> None:
    likeness.note(OTHER, DESIRED, LIVE)
    assert likeness.holds(OTHER, DESIRED, LIVE)
    assert not likeness.holds(KEY, DESIRED, LIVE)
