"""The status of an McpServer: from every observation to its conditions.

a table: each reason · what probes found · what is too large or hostile · an unchanged observation · a restart of the operator
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mcp_operator.api.resources import McpServer
from mcp_operator.api.server import ServerStatus
from mcp_operator.compile.problems import Problem
from mcp_operator.conditions.reasons import Reason
from mcp_operator.conditions.server import (
    Clients,
    Failure,
    Health,
    ServerObservation,
    Stopped,
    Unreached,
    invalid_status,
    server_status,
    shown,
)
from mcp_operator.conditions.verdict import Refusal
from support import models, resources

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
REMOTE = models.server(resources.remote("far", "https://far.example.com/mcp"), generation=3)
HOSTED = models.server(resources.container("near", "image:1"), generation=3)
UP = {
    "metadata": {"generation": 1},
    "spec": {"replicas": 1},
    "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
}
GOOD = Health(
    healthy=True,
    server_name="demo",
    server_version="1.2",
    protocol_version="2025-11-25",
    transport="streamable-http",
    tools=("add", "hello"),
    tools_digest="sha256:0",
    latency_seconds=0.014,
    time=NOW,
)
BAD = replace(GOOD, healthy=False, error_class="Timeout", error="no answer", consecutive_failures=2)

DOUBTED = replace(GOOD, doubted=True)
FAILING = replace(GOOD, error_class="Timeout", error="no answer", consecutive_failures=1)
RECOVERING = replace(GOOD, healthy=False, recovering=True)
REACHED = Clients(reached=True)
PARTLY = Clients(
    (
        Unreached("team-a/tools", 2, (Failure("tools-1", "Timeout", "no answer"),)),
        Unreached("team-b/more", 1, (Failure("more-1", "DNSFailure", "no such name"),)),
    ),
    reached=True,
)


def told(status: ServerStatus) -> dict[str, tuple[str, str]]:
    return {condition.type: (condition.status, condition.reason) for condition in status.conditions}


def message(status: ServerStatus, kind: str) -> str:
    return next(condition.message for condition in status.conditions if condition.type == kind)


def after(server: McpServer, status: ServerStatus, **metadata: Any) -> McpServer:
    """The server as the API server holds it once the status is written, there and back."""
    parsed = ServerStatus.model_validate_json(status.model_dump_json(by_alias=True, exclude_none=True))
    meta = server.metadata.model_copy(update=metadata)
    return server.model_copy(update={"status": parsed, "metadata": meta})


READY = {"Ready": ("True", "Ready")}
TABLE: Sequence[tuple[str, McpServer, ServerObservation, dict[str, tuple[str, str]]]] = [
    ("first sight", REMOTE, ServerObservation(), {
        "Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "Resolved"), "Programmed": ("True", "NotHosted"),
        "Healthy": ("Unknown", "NotProbed"), "Ready": ("Unknown", "NotProbed"), "Reconciling": ("True", "NotProbed"),
    }),
    ("answering", REMOTE, ServerObservation(health=GOOD), {"Healthy": ("True", "Answering"), **READY}),
    ("one failure is none yet", REMOTE, ServerObservation(health=replace(GOOD, error_class="Timeout", consecutive_failures=1)), READY),
    ("silent", REMOTE, ServerObservation(health=BAD), {"Healthy": ("False", "Timeout"), "Ready": ("False", "Timeout")}),
    ("never answered", REMOTE, ServerObservation(health=replace(BAD, healthy=None)), {"Healthy": ("Unknown", "NotProbed")}),
    ("unsupported", REMOTE, ServerObservation(unsupported=Problem("UnsupportedValue", "no")), {
        "Accepted": ("False", "UnsupportedValue"), "Healthy": ("Unknown", "NotProbed"),
        "Ready": ("False", "UnsupportedValue"), "Stalled": ("True", "UnsupportedValue"),
    }),
    ("missing reference", REMOTE, ServerObservation(unresolved=(Problem("RefNotFound", "no"),)), {
        "ResolvedRefs": ("False", "RefNotFound"), "Ready": ("False", "RefNotFound"), "Healthy": ("Unknown", "NotProbed"),
    }),
    ("unusable reference", REMOTE, ServerObservation(unresolved=(Problem("InvalidValue", "no"),)), {
        "ResolvedRefs": ("False", "InvalidValue"), "Stalled": ("True", "InvalidValue"),
    }),
    ("being deployed", HOSTED, ServerObservation(), {
        "Programmed": ("False", "Deploying"), "Ready": ("False", "Deploying"), "Reconciling": ("True", "Deploying"),
    }),
    ("being deployed, and its process ends at every start", HOSTED, ServerObservation(health=replace(BAD, error_class="CrashLoop")), {
        "Programmed": ("False", "Crashing"), "Ready": ("False", "Crashing"), "Healthy": ("False", "CrashLoop"),
    }),
    ("deployed", HOSTED, ServerObservation(deployment=UP, health=GOOD), {"Programmed": ("True", "Deployed"), **READY}),
    ("a name that is taken", HOSTED, ServerObservation(refused=Refusal(Reason.CHILD_NAME_TAKEN, "no"), deployment=UP), {
        "Programmed": ("False", "ChildNameTaken"), "Ready": ("False", "ChildNameTaken"), "Stalled": ("True", "ChildNameTaken"),
    }),
    ("refused", HOSTED, ServerObservation(refused=Refusal(Reason.APPLY_REFUSED, "no"), health=GOOD), {
        "Programmed": ("False", "ApplyRefused"), "Stalled": ("True", "ApplyRefused"),
    }),
    ("paused", HOSTED, ServerObservation(paused=True, deployment=UP, health=GOOD), {
        "Programmed": ("Unknown", "Paused"), "Healthy": ("True", "Answering"), "Ready": ("Unknown", "Paused"),
    }),
    ("recovering", REMOTE, ServerObservation(health=RECOVERING), {
        "Healthy": ("False", "Recovering"), "Ready": ("False", "Recovering"), "Reconciling": ("True", "Recovering"),
    }),
    ("a replica does not reach it", REMOTE, ServerObservation(health=GOOD, clients=PARTLY), {
        "Healthy": ("False", "PartlyReachable"), "Ready": ("False", "PartlyReachable"),
    }),
    ("a replica does not, and the operator has not looked since", REMOTE, ServerObservation(health=DOUBTED, clients=PARTLY), {
        "Healthy": ("Unknown", "NotProbed"), "Ready": ("Unknown", "NotProbed"), "Reconciling": ("True", "NotProbed"),
    }),
    ("a replica does not, nor did the last probe", REMOTE, ServerObservation(health=FAILING, clients=PARTLY), {
        "Healthy": ("False", "Timeout"), "Ready": ("False", "Timeout"),
    }),
    ("nor did the last probe before it", REMOTE, ServerObservation(health=replace(FAILING, doubted=True), clients=PARTLY), {
        "Healthy": ("False", "Timeout"),
    }),
    ("a doubt whose replica is gone", REMOTE, ServerObservation(health=DOUBTED), READY),
    ("nobody reaches it", REMOTE, ServerObservation(health=BAD, clients=PARTLY), {"Healthy": ("False", "Timeout")}),
    ("replicas reach it", REMOTE, ServerObservation(health=GOOD, clients=REACHED), {"Healthy": ("True", "Answering"), **READY}),
    ("only replicas reach it", REMOTE, ServerObservation(health=BAD, clients=REACHED), {"Healthy": ("False", "Timeout")}),
    ("restarted in vain", HOSTED, ServerObservation(deployment=UP, health=BAD, restarts=3, in_vain=True), {
        "Healthy": ("False", "Timeout"), "Ready": ("False", "Timeout"), "Stalled": ("True", "RestartLimitReached"),
    }),
    ("paused, but there is nothing to hold", REMOTE, ServerObservation(paused=True, health=GOOD), READY),
]  # fmt: skip


@pytest.mark.parametrize(("server", "seen", "expected"), [case[1:] for case in TABLE], ids=[case[0] for case in TABLE])
def test_table(server: McpServer, seen: ServerObservation, expected: dict[str, tuple[str, str]]) -> None:
    status = server_status(server, seen, NOW)
    found = told(status)
    assert expected.items() <= found.items()
    assert {"Accepted", "ResolvedRefs", "Programmed", "Healthy", "Ready"} <= found.keys()
    assert "Stalled" in expected or "Stalled" not in found
    assert status.observed_generation == 3
    assert {condition.observed_generation for condition in status.conditions} == {3}


@pytest.mark.parametrize(("server", "seen"), [case[1:3] for case in TABLE], ids=[case[0] for case in TABLE])
def test_an_unchanged_observation_gives_an_equal_status(server: McpServer, seen: ServerObservation) -> None:
    """Also an hour later, and read back from the API server."""
    first = server_status(server, seen, NOW)
    assert server_status(after(server, first), seen, LATER) == after(server, first).status


def test_what_probes_found() -> None:
    status = server_status(REMOTE, ServerObservation(health=GOOD, restarts=2, restarted_at=NOW), NOW)
    shown_as = status.model_dump(mode="json", by_alias=True, exclude={"conditions"})
    assert shown_as == {
        "observedGeneration": 3,
        "hosting": "Remote",
        "url": "https://far.example.com/mcp",
        "serverInfo": {"name": "demo", "version": "1.2"},
        "protocolVersion": "2025-11-25",
        "transport": "streamable-http",
        "tools": {"count": 2, "names": ["add", "hello"], "digest": "sha256:0"},
        "probe": {
            "time": "2026-01-02T00:00:00Z",
            "latencyMilliseconds": 14.0,
            "latency": "14ms",
            "consecutiveFailures": 0,
            "errorClass": "",
            "error": "",
        },
        "restarts": 2,
        "restartedAt": "2026-01-02T00:00:00Z",
        "restartsReset": "",
        "definitions": None,
    }
    assert message(status, "Healthy") == "demo 1.2 answers with 2 tools"


def test_what_was_known_of_a_silent_server_stays() -> None:
    status = server_status(REMOTE, ServerObservation(health=BAD), NOW)
    assert (status.tools.count, status.protocol_version) == (2, "2025-11-25")
    assert status.probe is not None
    assert (status.probe.error_class, status.probe.error, status.probe.consecutive_failures) == (
        "Timeout",
        "no answer",
        2,
    )


def test_who_sees_what() -> None:
    partly = server_status(REMOTE, ServerObservation(health=GOOD, clients=PARTLY), NOW)
    assert message(partly, "Healthy") == (
        "the operator reaches it, but not 1 of 2 replicas of McpProxy team-a/tools: tools-1 (Timeout: no answer); "
        "1 of 1 replica of McpProxy team-b/more: more-1 (DNSFailure: no such name)"
    )
    alone = server_status(REMOTE, ServerObservation(health=BAD, clients=REACHED), NOW)
    assert message(alone, "Healthy") == "no answer; the proxies that serve it reached it when last asked"


def test_a_probe_that_is_older_than_the_word_of_a_replica_proves_nothing() -> None:
    """What was said before stands until the operator has looked again."""
    doubted = ServerObservation(health=DOUBTED, clients=PARTLY)
    fresh = server_status(REMOTE, doubted, NOW)
    assert message(fresh, "Healthy").startswith(
        "it is being probed, as it is not reached by 1 of 2 replicas of McpProxy"
    )
    for before in (ServerObservation(health=GOOD), ServerObservation(health=BAD)):
        known = after(REMOTE, server_status(REMOTE, before, NOW))
        assert server_status(known, doubted, LATER).conditions == known.status.conditions
        edited = after(REMOTE, known.status, generation=4)
        assert told(server_status(edited, doubted, LATER))["Healthy"] == ("Unknown", "NotProbed")


def test_after_a_restart_what_replicas_said_stands_until_they_have_been_heard() -> None:
    partly = after(REMOTE, server_status(REMOTE, ServerObservation(health=GOOD, clients=PARTLY), NOW))
    for clients in (Clients(waiting=True), Clients(waiting=True, reached=True)):
        assert server_status(partly, ServerObservation(health=GOOD, clients=clients), LATER) == partly.status
    assert told(server_status(partly, ServerObservation(health=GOOD, clients=REACHED), LATER))["Healthy"][0] == "True"
    for health in (BAD, FAILING):
        news = server_status(partly, ServerObservation(health=health, clients=Clients(waiting=True)), LATER)
        assert "the operator reaches it" not in message(news, "Healthy")


def test_restarted_in_vain() -> None:
    status = server_status(HOSTED, ServerObservation(deployment=UP, health=BAD, restarts=3, in_vain=True), NOW)
    assert message(status, "Stalled").startswith("it was restarted 3 times and still does not answer")
    assert "mcp-operator.dev/reset-restarts" in message(status, "Stalled")


def test_transitions() -> None:
    up = after(REMOTE, server_status(REMOTE, ServerObservation(health=GOOD), NOW))
    down = server_status(up, ServerObservation(health=BAD), LATER)
    times = {condition.type: condition.last_transition_time for condition in down.conditions}
    assert times == {"Accepted": NOW, "ResolvedRefs": NOW, "Programmed": NOW, "Healthy": LATER, "Ready": LATER}


def test_what_a_hostile_server_says_fits_a_status() -> None:
    """The API server refuses an object of more than about a megabyte, and fields that are longer than the schema says."""
    hostile = replace(
        GOOD,
        server_name="n" * 9999,
        server_version="v" * 9999,
        protocol_version="p" * 9999,
        tools=tuple(f"{number:04}{'ü' * 2000}" for number in range(5000)),
        error="e" * 9999,
    )
    status = server_status(REMOTE, ServerObservation(health=hostile), NOW)
    assert status.tools.count == 5000
    assert 100 < len(status.tools.names) < 2000
    assert len(status.model_dump_json().encode()) < 400_000
    many = server_status(REMOTE, ServerObservation(health=replace(GOOD, tools=tuple("abc" * 1000))), NOW)
    assert len(many.tools.names) == 2000


@pytest.mark.parametrize("health", [None, Health(), Health(error_class="Timeout", error="x", consecutive_failures=1)])
@pytest.mark.parametrize("known", [GOOD, BAD])
def test_a_restart_of_the_operator_is_no_news(known: Health, health: Health | None) -> None:
    before = after(REMOTE, server_status(REMOTE, ServerObservation(health=known), NOW))
    assert server_status(before, ServerObservation(health=health), LATER) == before.status


@pytest.mark.parametrize(
    ("health", "same"),
    [
        (replace(GOOD, time=LATER), True),
        (replace(GOOD, time=LATER, latency_seconds=0.025), True),
        (replace(GOOD, time=LATER, latency_seconds=0.05), False),
        (replace(GOOD, time=LATER, latency_seconds=0.002), False),
        (replace(GOOD, time=LATER, tools=("add",)), False),
        (replace(GOOD, time=LATER, server_version="2"), False),
        (replace(BAD, time=LATER), False),
    ],
)
def test_the_first_probe_of_a_new_operator(health: Health, same: bool) -> None:
    """It finds what was known: that is no reason to write thousands of statuses."""
    before = after(REMOTE, server_status(REMOTE, ServerObservation(health=GOOD), NOW))
    status = server_status(before, ServerObservation(health=health), LATER)
    assert (status == before.status) is same
    assert status.probe is not None
    assert status.probe.time == (NOW if same else LATER)


def test_of_another_generation_nothing_is_known() -> None:
    before = after(REMOTE, server_status(REMOTE, ServerObservation(health=GOOD), NOW), generation=4)
    status = server_status(before, ServerObservation(), LATER)
    assert told(status)["Healthy"] == ("Unknown", "NotProbed")
    assert (status.tools.count, status.server_info, status.probe) == (0, None, None)


def test_a_server_that_is_not_probed_is_not_called_healthy() -> None:
    before = after(REMOTE, server_status(REMOTE, ServerObservation(health=GOOD), NOW))
    missing = ServerObservation(unresolved=(Problem("RefNotFound", "no"),))
    assert told(server_status(before, missing, LATER))["Healthy"] == ("Unknown", "NotProbed")


def test_a_body_that_cannot_be_read() -> None:
    status = invalid_status("spec.port: wrong", 7, NOW)
    assert status["observedGeneration"] == 7
    found = {condition["type"]: (condition["status"], condition["reason"]) for condition in status["conditions"]}
    assert found == {"Accepted": ("False", "Invalid"), "Ready": ("False", "Invalid"), "Stalled": ("True", "Invalid")}
    assert {condition["message"] for condition in status["conditions"]} == {"spec.port: wrong"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0000123, "0.012ms"),
        (0.0032, "3.2ms"),
        (0.14, "140ms"),
        (0.996, "1s"),
        (2.14, "2.1s"),
        (75, "75s"),
        (0, "0ms"),
    ],
)
def test_latency_for_people(seconds: float, text: str) -> None:
    assert shown(seconds) == text


def test_who_stopped_it_over_rest_is_told_and_nothing_is_wrong() -> None:
    stopped = Clients(reached=True, stopped=(Stopped("team-a/tools", ("tools-1", "tools-2")),))
    status = server_status(REMOTE, ServerObservation(health=GOOD, clients=stopped), NOW)
    assert (told(status)["Healthy"], told(status)["Ready"]) == (("True", "Stopped"), ("True", "Ready"))
    assert "it was stopped over REST at McpProxy team-a/tools (tools-1, tools-2)" in message(status, "Healthy")
    # What is wrong with it all the same comes first.
    for health, clients, reason in (
        (BAD, stopped, BAD.error_class),
        (GOOD, replace(PARTLY, stopped=stopped.stopped), "PartlyReachable"),
    ):
        status = server_status(REMOTE, ServerObservation(health=health, clients=clients), NOW)
        assert told(status)["Healthy"] == ("False", reason)
    again = server_status(after(REMOTE, status), ServerObservation(health=GOOD, clients=REACHED), LATER)
    assert told(again)["Healthy"] == ("True", "Answering")
