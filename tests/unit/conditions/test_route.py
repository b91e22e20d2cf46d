"""The status of an McpRoute: from how each parent took it to its conditions."""

from datetime import UTC, datetime, timedelta

import pytest

from mcp_operator.api.route import RouteStatus
from mcp_operator.compile.problems import Problem
from mcp_operator.conditions.route import Parent, route_status
from support import models, resources

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ROUTE = models.route(resources.route("extra", {"name": "one"}), generation=4)
GOOD = Parent("/mcp", ("team-a/one",))
MISSING = Problem("ServerNotFound", "no one")
CONFLICT = Problem("PrefixConflict", "taken")
Told = dict[str, tuple[str, str]]


def told(status: RouteStatus) -> Told:
    return {condition.type: (condition.status, condition.reason) for condition in status.conditions}


@pytest.mark.parametrize(
    ("parents", "expected"),
    [
        (
            {"tools": GOOD},
            {
                "Accepted": ("True", "Accepted"),
                "ResolvedRefs": ("True", "Resolved"),
                "Programmed": ("True", "Programmed"),
                "Ready": ("True", "Ready"),
            },
        ),
        (
            {"tools": None},
            {
                "Accepted": ("False", "ParentNotFound"),
                "ResolvedRefs": ("Unknown", "ParentNotFound"),
                "Programmed": ("False", "ParentNotFound"),
                "Ready": ("False", "ParentNotFound"),
            },
        ),
        ({"a": GOOD, "b": None}, {"Accepted": ("False", "ParentNotFound"), "Programmed": ("True", "Programmed")}),
        (
            {"tools": Parent("/mcp", (), problems=(MISSING,))},
            {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("False", "ServerNotFound")},
        ),
        (
            {"tools": Parent("/mcp", ("team-a/one",), problems=(CONFLICT, MISSING))},
            {
                "Accepted": ("False", "PrefixConflict"),
                "ResolvedRefs": ("False", "ServerNotFound"),
                "Stalled": ("True", "PrefixConflict"),
            },
        ),
        (
            {"tools": Parent("/mcp", ("team-a/one",), problems=(Problem("ServerConflict", "twice"),))},
            {"Accepted": ("False", "ServerConflict"), "Stalled": ("True", "ServerConflict")},
        ),
        (
            {"tools": Parent("/mcp", (), problems=(CONFLICT,))},
            {
                "Accepted": ("False", "PrefixConflict"),
                "ResolvedRefs": ("True", "Resolved"),
                "Ready": ("False", "PrefixConflict"),
            },
        ),
        (
            {"tools": Parent("/mcp", ("team-a/one",), hidden=("tool 'x' is hidden",))},
            {"Accepted": ("False", "NameConflict")},
        ),
        (
            {"tools": Parent("/mcp", (), left_out={"team-a/one": Problem("RefNotFound", "no secret")})},
            {"ResolvedRefs": ("False", "RefNotFound")},
        ),
        (
            {"tools": Parent("/mcp", (), problems=(Problem("RefNotPermitted", "no"),))},
            {"ResolvedRefs": ("False", "RefNotPermitted")},
        ),
        ({"tools": Parent("/mcp", ())}, {"ResolvedRefs": ("False", "NoServerSelected")}),
        (
            {"a": GOOD, "b": Parent("/mcp", ("team-a/one",), waiting="0 of 1 replica")},
            {
                "Programmed": ("False", "Swapping"),
                "Ready": ("False", "Swapping"),
                "Reconciling": ("True", "Swapping"),
            },
        ),
    ],
)
def test_table(parents: dict[str, Parent | None], expected: Told) -> None:
    status = route_status(ROUTE, parents, NOW)
    assert expected.items() <= told(status).items()
    assert status.observed_generation == 4
    written = ROUTE.model_copy(update={"status": status})
    assert route_status(written, parents, NOW + timedelta(hours=1)) == status


def test_what_is_shown() -> None:
    parents: dict[str, Parent | None] = {
        "b": Parent("/b", ("team-a/one", "team-a/two")),
        "a": Parent("/a", ("team-a/one",)),
        "c": None,
    }
    status = route_status(ROUTE, parents, NOW)
    assert (status.proxies, status.path, status.server_count) == ("a, b", "/a", 2)
    messages = {condition.type: condition.message for condition in status.conditions}
    assert messages["Accepted"] == "McpProxy team-a/c is not found; create it or mend parentRefs"
    assert messages["Programmed"] == "2 servers served by a, b"


def test_all_conflicts_are_named() -> None:
    parents: dict[str, Parent | None] = {
        name: Parent("/mcp", (), problems=(Problem("PrefixConflict", f"in {name}"),)) for name in "ba"
    }
    (accepted,) = [c for c in route_status(ROUTE, parents, NOW).conditions if c.type == "Accepted"]
    assert accepted.message == "in a; in b"
