"""Verdicts and how they become a list of conditions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from mcp_operator.api.common import Condition
from mcp_operator.conditions.reasons import PROGRESSING, TERMINAL, Reason, Type

State = Literal["True", "False", "Unknown"]
MESSAGE_LIMIT = 2000


@dataclass(frozen=True, slots=True)
class Verdict:
    """One condition before it has times: type, status, reason, message."""

    type: Type
    status: State
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why children were not made as they should be."""

    reason: Reason
    message: str


def yes(kind: Type, reason: Reason, message: str) -> Verdict:
    return Verdict(kind, "True", reason, message)


def no(kind: Type, reason: str, message: str) -> Verdict:
    return Verdict(kind, "False", reason, message)


def unknown(kind: Type, reason: str, message: str) -> Verdict:
    return Verdict(kind, "Unknown", reason, message)


def summed_up(verdicts: Sequence[Verdict], *, well: str | None = None) -> list[Verdict]:
    """The verdicts with `Ready`, and with `Stalled` or `Reconciling` where kstatus wants them.

    `well` is the message of `Ready` when all of them hold; unset, it is that of the last verdict.
    """
    first = next((v for v in verdicts if v.status == "False"), None) or next(
        (v for v in verdicts if v.status == "Unknown"), None
    )
    if first is None:
        return [*verdicts, yes(Type.READY, Reason.READY, verdicts[-1].message if well is None else well)]
    ready = Verdict(Type.READY, first.status, first.reason, first.message)
    if first.reason in TERMINAL:
        return [*verdicts, ready, Verdict(Type.STALLED, "True", first.reason, first.message)]
    if first.reason in PROGRESSING:
        return [*verdicts, ready, Verdict(Type.RECONCILING, "True", first.reason, first.message)]
    return [*verdicts, ready]


def conditions(
    verdicts: Iterable[Verdict], previous: Iterable[Condition], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Conditions sorted by type. `lastTransitionTime` moves only with the status (API conventions).

    The condition that the CRD puts into a resource which no operator has seen dates from the epoch: it counts as none.
    """
    before = {condition.type: condition for condition in previous if condition.last_transition_time.timestamp() > 0}
    result = []
    for verdict in sorted(verdicts, key=lambda v: v.type):
        old = before.get(verdict.type)
        since = (
            old.last_transition_time
            if old and old.status == verdict.status
            else now.astimezone(UTC).replace(microsecond=0)
        )
        result.append(
            Condition(
                type=verdict.type,
                status=verdict.status,
                observed_generation=generation,
                last_transition_time=since,
                reason=verdict.reason,
                message=verdict.message[:MESSAGE_LIMIT],
            )
        )
    return tuple(result)


def standing(kind: Type, previous: Iterable[Condition]) -> Verdict | None:
    """The last verdict on `kind`, for as long as there is no newer one: a restart of the operator is no news."""
    found = next((c for c in previous if c.type == kind and c.status != "Unknown"), None)
    return Verdict(kind, found.status, found.reason, found.message) if found else None


def joined(messages: Iterable[str], limit: int = 5, *, separator: str = "; ") -> str:
    """Messages as one text, the first few whole, the others counted."""
    texts = list(dict.fromkeys(messages))
    rest = f"{separator}and {len(texts) - limit} more" if len(texts) > limit else ""
    return separator.join(texts[:limit]) + rest


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
