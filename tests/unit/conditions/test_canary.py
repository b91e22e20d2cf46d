"""`CanaryPassing` from every observation: a table; and what it does to Ready."""

from datetime import UTC, datetime

import pytest

from mcp_operator.api.common import Condition
from mcp_operator.conditions.canary import CanaryObservation, CanaryPath, canary_verdict
from mcp_operator.conditions.server import Health, ServerObservation, server_status
from support import models, resources

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CALLED = CanaryPath("team-a/tools", "/mcp", "time_now")
PASSED = CanaryPath("team-a/tools", "/mcp", "time_now", True, "CallPassed")
ALSO = CanaryPath("team-b/tools", "/x", "now", True, "CallPassed")
FAILED = CanaryPath("team-a/tools", "/mcp", "time_now", False, "CallFailed", "the tool answered with an error: no")
NOBODY = "no McpProxy shows the tool now to clients: there is nothing to call it through"
NO = "time_now through McpProxy team-a/tools at /mcp: the tool answered with an error: no"
WRONG = CanaryPath("team-b/tools", "/x", "now", False, "UnexpectedAnswer", "the answer has no text")


def before(status: str, reason: str, message: str = "as before") -> Condition:
    body = {"type": "CanaryPassing", "status": status, "reason": reason, "message": message, "lastTransitionTime": NOW}
    return Condition.model_validate(body)


TABLE = {
    "not served": ([], False, (), ("Unknown", "NotServed", NOBODY)),
    "soon": ([], True, (), ("Unknown", "NotCalled", "no proxy shows the tool yet")),
    "soon, and it passed before": ([], True, (before("True", "CallPassed"),), ("True", "CallPassed", "as before")),
    "no longer served": ([], False, (before("True", "CallPassed"),), ("Unknown", "NotServed", NOBODY)),
    "first call": ([CALLED], False, (), ("Unknown", "NotCalled", "the first call is under way")),
    "first call of this process": ([CALLED], False, (before("False", "Timeout"),), ("False", "Timeout", "as before")),
    "first call, unknown before": ([CALLED], False, (before("Unknown", "NotServed"),), (
        "Unknown", "NotCalled", "the first call is under way")),
    "passes": ([PASSED], False, (), ("True", "CallPassed", "now answers as expected through McpProxy team-a/tools at /mcp")),
    "passes through both": ([ALSO, PASSED], False, (), ("True", "CallPassed",
        "now answers as expected through McpProxy team-a/tools at /mcp, McpProxy team-b/tools at /x")),
    "a new proxy is no doubt": ([PASSED, CanaryPath("team-b/tools", "/x", "now")], False, (), ("True", "CallPassed",
        "now answers as expected through McpProxy team-a/tools at /mcp")),
    "fails": ([FAILED], False, (before("True", "CallPassed"),), ("False", "CallFailed",
        NO)),
    "fails through one": ([ALSO, FAILED], False, (), ("False", "CallFailed",
        f"{NO}; it passes through McpProxy team-b/tools at /x")),
    "fails through both": ([WRONG, FAILED], False, (), ("False", "CallFailed",
        f"{NO}; now through McpProxy team-b/tools at /x: the answer has no text")),
}  # fmt: skip


@pytest.mark.parametrize(("paths", "waiting", "known", "expected"), TABLE.values(), ids=TABLE)
def test_table(
    paths: list[CanaryPath], waiting: bool, known: tuple[Condition, ...], expected: tuple[str, str, str]
) -> None:
    verdict = canary_verdict(CanaryObservation("now", paths, waiting), known)
    assert (verdict.status, str(verdict.reason), verdict.message) == expected


def test_held() -> None:
    verdict = canary_verdict(CanaryObservation("now", held=True), [before("True", "CallPassed")])
    assert (verdict.status, verdict.reason) == ("Unknown", "NotCalled")


@pytest.mark.parametrize(
    ("required", "paths", "ready"),
    [
        (False, [PASSED], ("True", "Ready", "it answers with 0 tools")),
        (False, [FAILED], ("True", "Ready", "it answers with 0 tools")),
        (True, [PASSED], ("True", "Ready", "it answers with 0 tools")),
        (True, [FAILED], ("False", "CallFailed", "time_now through")),
        (True, [CALLED], ("Unknown", "NotCalled", "the first call is under way")),
        (True, [], ("Unknown", "NotServed", "no McpProxy")),
    ],
)
def test_ready(required: bool, paths: list[CanaryPath], ready: tuple[str, str, str]) -> None:
    server = models.server(
        resources.remote("far", "https://far.example.com/mcp", canary={"tool": "now", "required": required})
    )
    seen = ServerObservation(health=Health(healthy=True), canary=CanaryObservation("now", paths))
    found = {c.type: c for c in server_status(server, seen, NOW).conditions}
    assert (found["Ready"].status, found["Ready"].reason) == ready[:2]
    assert found["Ready"].message.startswith(ready[2])
    assert "CanaryPassing" in found
    assert ("Reconciling" in found) is (ready[1] == "NotCalled")


def test_without_a_canary_there_is_no_such_condition() -> None:
    server = models.server(resources.remote("far", "https://far.example.com/mcp"))
    status = server_status(server, ServerObservation(health=Health(healthy=True)), NOW)
    assert "CanaryPassing" not in {condition.type for condition in status.conditions}
