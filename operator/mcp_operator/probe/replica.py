"""What one replica of a proxy runs, told from its `/status`. Pure."""

from dataclasses import dataclass, field, replace
from typing import Literal

from mcp_operator.probe.facts import ServerFacts
from mcp_operator.probe.state import latest_error
from mcp_operator_proxy.report import (
    Conflict,
    ErrorReport,
    LongName,
    NoticeReport,
    RouteReport,
    ServerReport,
    StatusReport,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """One replica against the revision that it should run. Two are equal when nothing differs but times."""

    asked: str | None
    """The revision that it should run; None where there is none yet."""
    state: Literal["unknown", "pending", "running", "rejected", "unreachable"] = "unknown"
    """`unknown`: it has not answered yet; `pending`: it answers, but does not run the revision yet."""
    revision: str | None = None
    """The revision that it runs."""
    rejected: str | None = None
    """Why it refused the config it was given."""
    error: ErrorReport | None = None
    """Why it is unreachable."""
    seconds: float | None = field(default=None, compare=False)
    """Time from when the revision was set, or the replica was first named, until it was first confirmed to run."""
    swap_seconds: float | None = field(default=None, compare=False)
    """Time that the replica itself says its swap took."""
    servers: tuple[ServerReport, ...] = ()
    """As it sees them, without times, circuit breakers and processes."""
    outdated: bool = False
    """What it says of servers is what it said before it was asked for this revision."""
    routes: tuple[RouteReport, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    long_names: tuple[LongName, ...] = ()
    notices: tuple[NoticeReport, ...] = ()
    refused: str | None = field(default=None, repr=False)
    """The revision of the config it refused, where that could be read."""

    @property
    def settled(self) -> bool:
        """It runs the revision or has refused just that one: there is nothing to wait for.

        It may run the revision and yet have refused what somebody else wrote after it: that is told as `rejected`.
        """
        return self.state == "running" or (self.state == "rejected" and self.asked in {self.refused, self.revision})

    @property
    def steady(self) -> bool:
        """Nothing is on its way: it runs the revision, and each of its servers has answered or failed to."""
        runs = self.state == "running" and all(server.state != "pending" or server.stopped for server in self.servers)
        return runs or (self.asked is None and self.state != "unreachable")


def expecting(state: ReplicaState | None, asked: str | None) -> ReplicaState:
    """The state before the replica has been asked for the revision `asked`."""
    if state is None:
        return ReplicaState(asked=asked)
    known = "pending" if state.state in {"running", "rejected"} else state.state
    return replace(state, asked=asked, state=known, outdated=True, rejected=None, refused=None, seconds=None)


def heard(state: ReplicaState, report: StatusReport, seconds: float) -> ReplicaState:
    """The state after the replica has answered, `seconds` after the revision was set."""
    rejected = report.rejected
    runs = report.revision is not None and report.revision == state.asked
    return ReplicaState(
        asked=state.asked,
        state="rejected" if rejected else "running" if runs else "pending",
        revision=report.revision,
        rejected=rejected.message if rejected else None,
        refused=rejected.revision if rejected else None,
        seconds=seconds if runs and state.seconds is None else state.seconds,
        swap_seconds=report.swap_seconds,
        servers=_steady(state.servers, report.servers),
        routes=report.routes,
        conflicts=report.conflicts,
        long_names=report.long_names,
        notices=report.notices,
    )


def confirms(report: ServerReport, facts: ServerFacts) -> bool:
    """Whether a replica finds a server just as a probe has found it."""
    said = (report.protocol_version, report.transport, report.server_name or "", report.server_version or "")
    counts = (report.prompts, report.resources, report.resource_templates)
    return (
        report.state == "ready"
        and said == (facts.protocol_version, facts.transport, facts.server_name, facts.server_version)
        and (report.tools, report.digest) == (facts.tools, facts.digest)
        and counts == (facts.prompts, facts.resources, facts.resource_templates)
    )


def silent(state: ReplicaState, error: ErrorReport) -> ReplicaState:
    """The state of a replica that does not answer: what it runs is no longer known."""
    told = latest_error(state.error, error)
    return ReplicaState(asked=state.asked, state="unreachable", error=told, seconds=state.seconds)


def _steady(old: tuple[ServerReport, ...], new: tuple[ServerReport, ...]) -> tuple[ServerReport, ...]:
    """`new` without what changes by itself, and with the old words of an error that still is the same."""
    errors = {server.id: server.error for server in old}
    return tuple(
        server.model_copy(
            update={
                "checked_at": None,
                "process": None,
                "circuit": "closed",
                "error": latest_error(errors.get(server.id), server.error),
            }
        )
        for server in new
    )
