"""What of a server's definitions is not approved, as a status tells it: bounded, and of several witnesses."""

from datetime import UTC, datetime

import pytest

from mcp_operator.api.pinning import MOST_UNAPPROVED, Pinning, UnapprovedTool
from mcp_operator.compile.pins import Record, seen
from mcp_operator.conditions.pinning import DIFF_BYTES, Pins, judge, merged, pinned_verdict, shown
from mcp_operator.conditions.reasons import Reason
from mcp_operator.conditions.verdict import Refusal
from mcp_operator_proxy import report
from mcp_operator_proxy.pinning.definition import canonical, digest_of

RECORD = Record(datetime(2026, 1, 2, tzinfo=UTC), {"a": "sha256:a"})
CHANGED = UnapprovedTool(tool="a\u202e", kind="Changed", digest="sha256:x")
GONE = UnapprovedTool(tool="b", kind="Gone")


@pytest.mark.parametrize(
    ("mode", "record", "found", "status", "reason"),
    [
        ("Enforce", None, (), "Unknown", Reason.NOT_RECORDED),
        ("Enforce", RECORD, (), "True", Reason.RECORDED),
        ("Enforce", RECORD, (GONE,), "True", Reason.RECORDED),
        ("Enforce", RECORD, (CHANGED, GONE), "False", Reason.QUARANTINED),
        ("Warn", RECORD, (CHANGED,), "False", Reason.CHANGED),
    ],
)
def test_the_condition(
    mode: Pinning, record: Record | None, found: tuple[UnapprovedTool, ...], status: str, reason: Reason
) -> None:
    verdict = pinned_verdict(Pins(mode, record, found))
    assert (verdict.status, verdict.reason) == (status, reason)
    assert verdict.message.isprintable(), "nothing of a server's is hidden in it"


def test_that_definitions_are_not_kept_is_said_where_nothing_else_is_wrong() -> None:
    refused = Refusal(Reason.CHILD_NAME_TAKEN, "it is somebody else's")
    assert pinned_verdict(Pins("Warn", RECORD, (), refused=refused)).reason == Reason.CHILD_NAME_TAKEN
    assert pinned_verdict(Pins("Warn", RECORD, (CHANGED,), refused=refused)).reason == Reason.CHANGED


def test_a_status_has_room_for_so_many_and_names_first_what_matters() -> None:
    many = [GONE, *(UnapprovedTool(tool=f"t{i:03}", kind="New", diff="x" * 2000) for i in range(200))]
    found = shown(many)
    assert len(found) == MOST_UNAPPROVED
    assert GONE not in found
    assert sum(len(one.diff) for one in found) <= DIFF_BYTES
    assert found[0].diff


def text(name: str, description: str) -> str:
    return canonical({"name": name, "description": description})


def test_a_replica_adds_what_the_operator_is_not_shown() -> None:
    good, bad, worse = text("a", "good"), text("a", "bad"), text("a", "worse")
    approved = {"a": frozenset({digest_of(good)})}
    known = {digest_of(good): good}
    own = judge(seen([("a", bad)]), approved, known)
    told = [
        report.UnapprovedTool(tool="a", kind="changed", digest=digest_of(bad)),
        report.UnapprovedTool(tool="a", kind="changed", digest=digest_of(worse), definition=worse),
        report.UnapprovedTool(tool="a", kind="changed", digest=digest_of(good)),
        report.UnapprovedTool(tool="b", kind="gone"),
    ]
    found = merged(own, {"ns/one": told, "ns/two": told[1:2]}, approved, known)
    assert sorted((one.diff, one.only_at) for one in found) == [
        ('description: "good" -> "bad"', ()),
        ('description: "good" -> "worse"', ("ns/one", "ns/two")),
    ]


def test_what_a_replica_says_fits_into_a_status() -> None:
    odd = report.UnapprovedTool(
        tool="\ud800" * 2000, kind="new", digest="x" * 100, approved=("y" * 100,) * 20, diff="\ud800" * 9000
    )
    (found,) = merged([], {"ns/one": [odd]}, {}, {})
    found.model_dump_json()
    assert len(found.tool) == 1024
