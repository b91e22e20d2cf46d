"""What of a server's definitions is not approved, and the condition that says so. Pure."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mcp_operator.api.pinning import MOST_PINNED, MOST_UNAPPROVED, Pinning, UnapprovedTool
from mcp_operator.compile.pins import Record, Seen
from mcp_operator.conditions.reasons import Reason, Type
from mcp_operator.conditions.verdict import Refusal, Verdict, joined, no, plural, unknown, yes
from mcp_operator_proxy import report
from mcp_operator_proxy.config import Pin
from mcp_operator_proxy.pinning.diff import difference
from mcp_operator_proxy.pinning.judge import unapproved
from mcp_operator_proxy.pinning.visible import visible

DIFF_BYTES: Final = 64 * 1024
"""What the diffs may take up of a status."""
Approved = Mapping[str, frozenset[str]]
Definitions = Mapping[str, str]
"""Canonical definitions by their digests."""
_KINDS: Final[Mapping[str, str]] = {"changed": "Changed", "new": "New", "gone": "Gone"}


@dataclass(frozen=True, slots=True)
class Pins:
    """Of one server whose definitions are pinned."""

    mode: Pinning
    record: Record | None = None
    unapproved: tuple[UnapprovedTool, ...] = ()
    """All of them; a status shows the first ones."""
    listed: int = 0
    """Tools that the server has."""
    refused: Refusal | None = None
    """Why the definitions are not kept beside their digests, if so."""

    @property
    def questionable(self) -> list[UnapprovedTool]:
        """Those that somebody has to look at."""
        return [one for one in self.unapproved if one.kind != "Gone"]


def judge(found: Seen, approved: Approved, known: Definitions) -> list[UnapprovedTool]:
    """What the operator is shown against what is approved."""
    listed = {name for name, _, _ in found.tools}
    gone = {tool: digests for tool, digests in approved.items() if tool not in listed}
    doubtful = [(name, text) for name, digest, text in found.tools if digest not in approved.get(name, ())]
    pins = [
        Pin(tool=name, digest=digest, definition=known.get(digest))
        for name in {name for name, _ in doubtful} & approved.keys()
        for digest in approved[name]
    ]
    told = unapproved([json.loads(text) for _, text in doubtful], pins)
    return [
        *(_status(one) for one in told),
        *(UnapprovedTool(tool=name[:1024], kind="Gone", approved=_some(gone[name])) for name in sorted(gone)),
    ]


def merged(
    own: Sequence[UnapprovedTool],
    elsewhere: Mapping[str, Iterable[report.UnapprovedTool]],
    approved: Approved,
    known: Definitions,
) -> tuple[UnapprovedTool, ...]:
    """What the operator finds, and what proxies (by id) are shown besides, sorted by name.

    A replica may speak of pins that it had before: what is approved by now is left out.
    """
    seen = {(one.tool, one.digest) for one in own}
    others: dict[tuple[str, str], report.UnapprovedTool] = {}
    where: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for proxy, found in elsewhere.items():
        for one in found:
            key = one.tool[:1024], one.digest
            if one.kind != "gone" and key not in seen and one.digest not in approved.get(one.tool, ()):
                others[key] = one
                where[key].add(proxy)
    extra = [
        _status(_diffed(one, approved, known)).model_copy(update={"only_at": tuple(sorted(where[key])[:8])})
        for key, one in others.items()
    ]
    return tuple(sorted([*own, *extra], key=lambda one: (one.tool, one.kind, one.digest)))


def _diffed(one: report.UnapprovedTool, approved: Approved, known: Definitions) -> report.UnapprovedTool:
    if one.diff or not one.definition:
        return one
    before = next((known[digest] for digest in sorted(approved.get(one.tool, ())) if digest in known), None)
    return one.model_copy(update={"diff": difference(before, one.definition)}) if before else one


def _status(one: report.UnapprovedTool) -> UnapprovedTool:
    # A replica is no authority on what a status can hold.
    return UnapprovedTool.model_validate(
        {
            "tool": _encodable(one.tool[:1024]),
            "kind": _KINDS[one.kind],
            "digest": one.digest[:71],
            "approved": _some(one.approved),
            "diff": _encodable(one.diff[:4096]),
        }
    )


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()


def _some(digests: Iterable[str]) -> tuple[str, ...]:
    return tuple(digest[:71] for digest in sorted(digests)[:8])


def shown(found: Iterable[UnapprovedTool]) -> tuple[UnapprovedTool, ...]:
    """What a status has room for: those first that somebody has to look at, and as many diffs as there is room."""
    ordered = sorted(found, key=lambda one: (one.kind == "Gone", one.tool, one.kind, one.digest))
    kept, room = [], DIFF_BYTES
    for one in ordered[:MOST_UNAPPROVED]:
        room -= len(one.diff.encode())
        kept.append(one if room >= 0 else one.model_copy(update={"diff": ""}))
    return tuple(kept)


def pinned_verdict(pins: Pins) -> Verdict:
    """The condition. `Ready` does not hang on it: a server is well while some of its tools are withheld."""
    kind, record = Type.DEFINITIONS_PINNED, pins.record
    if record is None:
        until = "; until then only what spec.approvedDefinitions names is served" if pins.mode == "Enforce" else ""
        return unknown(kind, Reason.NOT_RECORDED, f"its definitions are recorded once it has listed them{until}")
    if found := pins.questionable:
        return no(kind, Reason.QUARANTINED if pins.mode == "Enforce" else Reason.CHANGED, _told(pins, found))
    count = len(record.tools)
    if pins.refused is not None:
        return no(
            kind,
            pins.refused.reason,
            f"{plural(count, 'definition')} recorded, but only by digest, so that no diff can be made: {pins.refused.message}",
        )
    gone = len(pins.unapproved)
    missing = f"; {plural(gone, 'pinned tool')} no longer listed" if gone else ""
    return yes(
        kind, Reason.RECORDED, f"the server's tools are as approved: {plural(count, 'definition')} recorded{missing}"
    )


def _told(pins: Pins, found: Sequence[UnapprovedTool]) -> str:
    names = joined((f"{visible(one.tool[:64])} is {one.kind.lower()}" for one in found), limit=5, separator=", ")
    what = "quarantined: neither listed nor called" if pins.mode == "Enforce" else "served all the same"
    more = f"; at most {MOST_PINNED} tools of a server can be pinned" if pins.listed > MOST_PINNED else ""
    return (
        f"{plural(len(found), 'definition')} not approved, {what}: {names}; look at the diffs in status.definitions, then"
        f" approve the digests in spec.approvedDefinitions or by the annotation mcp-operator.dev/approve{more}"
    )
