"""The three-way merge patch, and what was applied last."""

import json
from typing import Any

import pytest

from mcp_operator.planning.merge import LAST_APPLIED, last_applied, three_way

Body = dict[str, Any]


@pytest.mark.parametrize(
    ("last", "wanted", "live", "patch"),
    [
        ({}, {}, {"a": 1}, {}),
        ({}, {"a": 1}, {"a": 1, "b": 2}, {}),
        ({}, {"a": 2}, {"a": 1}, {"a": 2}),
        ({"a": 1}, {}, {"a": 1}, {"a": None}),
        ({"a": 1}, {}, {}, {}),
        ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1, "c": 2}}, {"a": {"b": None}}),
        ({"a": {"b": 1}}, {"c": 1}, {"a": {"b": 1, "d": 2}}, {"a": None, "c": 1}),
        ({}, {"a": [1]}, {"a": [1, 2]}, {"a": [1]}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": 1}, {"a": {"b": 1}}),
    ],
)
def test_three_way(last: Body, wanted: Body, live: Body, patch: Body) -> None:
    assert three_way(last, wanted, live) == patch


def test_what_kubectl_noted() -> None:
    noted = {"spec": {"a": 1}}
    assert last_applied({"metadata": {"annotations": {LAST_APPLIED: json.dumps(noted)}}}) == noted


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_note_that_is_none(text: str) -> None:
    assert last_applied({"metadata": {"annotations": {LAST_APPLIED: text}}}) == {}


def test_what_was_applied_on_the_server_is_what_its_managers_own() -> None:
    live = {
        "metadata": {
            "labels": {"team": "core", "other": "x"},
            "managedFields": [
                {
                    "operation": "Apply",
                    "fieldsV1": {
                        "f:metadata": {"f:labels": {"f:team": {}}},
                        "f:spec": {"f:stdio": {".": {}, "f:command": {}}},
                    },
                },
                {"operation": "Apply", "fieldsV1": {"f:spec": {"f:tools": {'k:{"name":"a"}': {}}}}},
                {"operation": "Apply", "subresource": "status", "fieldsV1": {"f:status": {"f:x": {}}}},
                {"operation": "Update", "fieldsV1": {"f:spec": {"f:isolation": {}}}},
            ],
        },
        "spec": {"stdio": {"command": "x", "args": []}, "tools": [{"name": "a"}], "isolation": "shared"},
        "status": {"x": 1},
    }
    assert last_applied(live) == {
        "metadata": {"labels": {"team": "core"}},
        "spec": {"stdio": {"command": "x"}, "tools": [{"name": "a"}]},
    }


def test_nobody_applied_it() -> None:
    assert last_applied({"metadata": {}}) == {}
