"""From verdicts to conditions: `Ready`, `Reconciling`, `Stalled`, times, words; and which statuses kstatus makes of them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from mcp_operator.api.common import Condition
from mcp_operator.compile.problems import ProblemReason
from mcp_operator.conditions.reasons import PROGRESSING, TERMINAL, Reason, Type
from mcp_operator.conditions.verdict import Verdict, conditions, joined, no, plural, standing, summed_up, unknown, yes
from mcp_operator_proxy.report import ErrorClass

THEN, NOW = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
FINE = yes(Type.ACCEPTED, Reason.ACCEPTED, "fine")


def _by_type(verdicts: list[Verdict]) -> dict[str, tuple[str, str]]:
    return {verdict.type: (verdict.status, verdict.reason) for verdict in verdicts}


@pytest.mark.parametrize(
    ("verdicts", "added"),
    [
        ([FINE], {"Ready": ("True", "Ready")}),
        (
            [FINE, no(Type.PROGRAMMED, Reason.DEPLOYING, "")],
            {"Ready": ("False", "Deploying"), "Reconciling": ("True", "Deploying")},
        ),
        (
            [unknown(Type.HEALTHY, Reason.NOT_PROBED, "")],
            {"Ready": ("Unknown", "NotProbed"), "Reconciling": ("True", "NotProbed")},
        ),
        (
            [no(Type.ACCEPTED, Reason.INVALID, "")],
            {"Ready": ("False", "Invalid"), "Stalled": ("True", "Invalid")},
        ),
        ([no(Type.HEALTHY, "Timeout", "")], {"Ready": ("False", "Timeout")}),
        ([unknown(Type.PROGRAMMED, Reason.PAUSED, "")], {"Ready": ("Unknown", "Paused")}),
        (
            [unknown(Type.PROGRAMMED, Reason.PAUSED, ""), no(Type.HEALTHY, "Timeout", "")],
            {"Ready": ("False", "Timeout")},
        ),
        (
            [no(Type.RESOLVED_REFS, Reason.REF_NOT_FOUND, ""), no(Type.PROGRAMMED, Reason.SWAPPING, "")],
            {"Ready": ("False", "RefNotFound")},
        ),
    ],
)
def test_summed_up(verdicts: list[Verdict], added: dict[str, tuple[str, str]]) -> None:
    given = _by_type(verdicts)
    assert _by_type(summed_up(verdicts)) == {**given, **added}


def test_what_ends_by_itself_is_not_what_only_an_edit_ends() -> None:
    assert not TERMINAL & PROGRESSING


def test_every_reason_of_a_problem_or_an_error_is_a_word() -> None:
    for reason in (*ProblemReason.__args__, *ErrorClass.__args__, *Reason):  # type: ignore[attr-defined]
        assert Condition(type="X", status="True", last_transition_time=NOW, reason=reason, message="")
    assert set(ProblemReason.__args__) <= set(Reason)  # type: ignore[attr-defined]


def _before(status: str, since: datetime = THEN) -> list[Condition]:
    return [
        Condition(
            type="Accepted",
            status=status,  # type: ignore[arg-type]
            last_transition_time=since,
            reason="Other",
            message="other",
            observed_generation=1,
        )
    ]


@pytest.mark.parametrize(
    ("previous", "since"),
    [
        ([], NOW.replace(microsecond=0)),
        (_before("True"), THEN),
        (_before("False"), NOW.replace(microsecond=0)),
        (_before("Unknown"), NOW.replace(microsecond=0)),
        (_before("True", datetime(1970, 1, 1, tzinfo=UTC)), NOW.replace(microsecond=0)),
    ],
)
def test_the_time_of_transition_moves_with_the_status_alone(previous: list[Condition], since: datetime) -> None:
    (told,) = conditions([FINE], previous, 7, NOW)
    assert (told.last_transition_time, told.observed_generation) == (since, 7)
    assert (told.reason, told.message) == ("Accepted", "fine")


def test_times_are_utc() -> None:
    (told,) = conditions([FINE], [], 1, NOW.astimezone(timezone(timedelta(hours=2))))
    assert told.model_dump(mode="json")["last_transition_time"] == "2026-01-02T03:04:05Z"


def test_conditions_are_sorted_and_short() -> None:
    told = conditions([no(Type.READY, "X", "y" * 5000), FINE], [], 1, NOW)
    assert [condition.type for condition in told] == ["Accepted", "Ready"]
    assert len(told[1].message) == 2000


def test_what_stands() -> None:
    assert standing(Type.ACCEPTED, _before("False")) == Verdict(Type.ACCEPTED, "False", "Other", "other")
    assert standing(Type.ACCEPTED, _before("Unknown")) is None
    assert standing(Type.HEALTHY, _before("True")) is None


def test_words() -> None:
    assert joined(["a", "b", "a"]) == "a; b"
    assert joined(f"{number}" for number in range(8)) == "0; 1; 2; 3; 4; and 3 more"
    assert [plural(count, "pod") for count in (0, 1, 2)] == ["0 pods", "1 pod", "2 pods"]
