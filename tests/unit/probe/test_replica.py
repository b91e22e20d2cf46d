"""What a replica's report means against the revision that it should run."""

from datetime import UTC, datetime
from typing import Any

import pytest

from mcp_operator.probe.facts import ServerFacts
from mcp_operator.probe.replica import ReplicaState, confirms, expecting, heard, silent
from mcp_operator_proxy.report import ErrorReport, RejectedConfig, ServerReport, StatusReport

NOW = datetime(2026, 11, 21, tzinfo=UTC)
DOWN = ErrorReport(error_class="ConnectionRefused", message="nothing listens at the server's address")


def report(revision: str | None, *, rejected: str | None = "", **more: Any) -> StatusReport:
    """`rejected`: the refused revision, None for an unreadable one, "" for no refusal."""
    refusal = None if rejected == "" else RejectedConfig(revision=rejected, message="bad path", at=NOW)
    return StatusReport(version="1", revision=revision, started_at=NOW, rejected=refusal, **more)


REPORTS = {
    #                              asked, runs,  refused, state,      settled
    "it runs it":                 ("b",   "b",   "",      "running",  True),
    "it runs the one before":     ("b",   "a",   "",      "pending",  False),
    "it runs none yet":           ("b",   None,  "",      "pending",  False),
    "it refused it":              ("b",   "a",   "b",     "rejected", True),
    "it refused it at the start": ("b",   None,  "b",     "rejected", True),
    "it cannot read it":          ("b",   "a",   None,    "rejected", False),
    "it refused another":         ("b",   "a",   "x",     "rejected", False),
    "runs it, refused another":   ("b",   "b",   "x",     "rejected", True),
    "runs it, refused it anew":   ("b",   "b",   "b",     "rejected", True),
    "none is wanted":             (None,  "a",   "",      "pending",  False),
}  # fmt: skip


@pytest.mark.parametrize(("asked", "runs", "refused", "state", "settled"), REPORTS.values(), ids=REPORTS)
def test_reports(asked: str | None, runs: str | None, refused: str | None, state: str, settled: bool) -> None:
    told = heard(expecting(None, asked), report(runs, rejected=refused), 1.5)
    assert (told.state, told.settled, told.revision, told.asked) == (state, settled, runs, asked)
    assert (told.rejected is not None) == (state == "rejected")
    assert told.seconds == (1.5 if runs == asked else None)


def test_seconds_are_those_of_the_first_confirmation() -> None:
    state = expecting(None, "b")
    for seconds, runs in ((0.1, "a"), (0.4, "b"), (30.0, "b"), (60.0, "a"), (90.0, "b")):
        state = heard(state, report(runs), seconds)
    assert state.seconds == 0.4
    assert silent(state, DOWN).seconds == 0.4
    assert expecting(state, "c").seconds is None


def test_times_are_no_change() -> None:
    def at(hour: int, seconds: float) -> ReplicaState:
        server = ServerReport(id="a/b", state="ready", tools=("x",), checked_at=NOW.replace(hour=hour))
        return heard(expecting(None, "b"), report("b", servers=(server,), swap_seconds=seconds, sessions=hour), seconds)

    assert at(1, 0.1) == at(2, 0.2)


@pytest.mark.parametrize(
    "other",
    [
        {"state": "error", "error": DOWN},
        {"tools": ("x", "y")},
        {"prompts": 1},
        {"server_version": "2"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_server_that_changed_is(other: dict[str, Any]) -> None:
    before = ServerReport(id="a/b", state="ready", tools=("x",))
    state = heard(expecting(None, "b"), report("b", servers=(before,)), 1)
    assert heard(state, report("b", servers=(before.model_copy(update=other),)), 2) != state


def test_numbers_in_an_error_are_no_change() -> None:
    def failing(message: str) -> StatusReport:
        error = ErrorReport(error_class="ProtocolError", message=message)
        return report("b", servers=(ServerReport(id="a/b", state="error", error=error),))

    state = heard(expecting(None, "b"), failing("failed (request 17)"), 1)
    assert heard(state, failing("failed (request 18)"), 2) == state
    assert heard(state, failing("out of memory"), 2) != state


def test_a_silent_replica() -> None:
    running = heard(expecting(None, "b"), report("b"), 1)
    down = silent(running, DOWN)
    assert (down.state, down.revision, down.error, down.settled) == ("unreachable", None, DOWN, False)
    assert silent(down, DOWN) == down
    assert heard(down, report("b"), 9) == running


EXPECTED = {
    "new": (None, "unknown"),
    "silent so far": (expecting(None, "a"), "unknown"),
    "ran the last": (heard(expecting(None, "a"), report("a"), 1), "pending"),
    "runs the next already": (heard(expecting(None, "a"), report("b"), 1), "pending"),
    "refused the last": (heard(expecting(None, "a"), report(None, rejected="a"), 1), "pending"),
    "unreachable": (silent(expecting(None, "a"), DOWN), "unreachable"),
}


@pytest.mark.parametrize(("before", "state"), EXPECTED.values(), ids=EXPECTED)
def test_a_new_revision(before: ReplicaState | None, state: str) -> None:
    told = expecting(before, "b")
    assert (told.state, told.asked, told.settled, told.rejected, told.seconds) == (state, "b", False, None, None)


def test_it_is_steady_when_its_servers_are() -> None:
    waiting, ready = (ServerReport(id="a/b", state=state) for state in ("pending", "ready"))
    state = heard(expecting(None, "b"), report("b", servers=(waiting,)), 1)
    assert (state.settled, state.steady) == (True, False)
    assert heard(state, report("b", servers=(ready,)), 1).steady
    assert not heard(state, report("b", rejected="b"), 1).steady, "a refusal may be over without another revision"
    assert not silent(state, DOWN).steady
    assert heard(expecting(None, None), report("a"), 1).steady


FACTS = ServerFacts(
    protocol_version="2026-07-28",
    transport="streamable-http",
    server_name="weather",
    server_version="1.2",
    tools=("a", "b"),
    prompts=1,
)
SAID: dict[str, Any] = {
    "id": "team-a/weather",
    "state": "ready",
    "protocol_version": "2026-07-28",
    "transport": "streamable-http",
    "server_name": "weather",
    "server_version": "1.2",
    "tools": ("a", "b"),
    "prompts": 1,
}


@pytest.mark.parametrize(
    ("other", "confirmed"),
    [
        ({}, True),
        ({"state": "error"}, False),
        ({"state": "pending"}, False),
        ({"protocol_version": "2025-11-25"}, False),
        ({"transport": "sse"}, False),
        ({"server_name": None}, False),
        ({"server_version": "1.3"}, False),
        ({"tools": ("a",)}, False),
        ({"digest": "sha256:other"}, False),
        ({"prompts": 2}, False),
        ({"resources": 1}, False),
        ({"resource_templates": 1}, False),
    ],
)
def test_a_report_confirms_what_a_probe_found(other: dict[str, Any], confirmed: bool) -> None:
    assert confirms(ServerReport(**{**SAID, **other}), FACTS) is confirmed
