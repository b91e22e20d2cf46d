"""The status of an McpRoute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mcp_operator.api.resources import McpRoute
from mcp_operator.api.route import ParentStatus, RouteStatus
from mcp_operator.compile.problems import Problem
from mcp_operator.conditions.notices import Notice, noted
from mcp_operator.conditions.reasons import Reason, Type
from mcp_operator.conditions.verdict import Verdict, conditions, joined, no, plural, summed_up, unknown, yes

NOTHING_MATCHES: Final = (
    "no McpServer matches that another route does not bring there already; check the selector and the servers' labels"
)
_CONFLICTS = frozenset({Reason.SERVER_CONFLICT, Reason.PREFIX_CONFLICT})


@dataclass(frozen=True, slots=True)
class Parent:
    """How one proxy took the route. `waiting` is None when all its replicas run it, else says why not."""

    path: str
    servers: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    left_out: Mapping[str, Problem] | None = None
    hidden: tuple[str, ...] = ()
    """Names of this route that another server already has, in words."""
    notices: tuple[Notice, ...] = ()
    waiting: str | None = None


Parents = Mapping[str, Parent | None]
"""By the proxy's name; None where there is no such proxy."""


def route_status(route: McpRoute, parents: Parents, now: datetime) -> RouteStatus:
    """The status that is true of what was observed, as a whole and for each parent."""
    found = {name: parent for name, parent in parents.items() if parent is not None}
    told = [notice for _, parent in sorted(found.items()) for notice in parent.notices]
    verdicts = [*summed_up(_verdicts(route, parents)), *noted(told)]
    return RouteStatus(
        observed_generation=route.metadata.generation,
        conditions=conditions(verdicts, route.status.conditions, route.metadata.generation, now),
        proxies=", ".join(sorted(found)),
        path=next((found[name].path for name in sorted(found)), route.spec.path or ""),
        server_count=len({server for parent in found.values() for server in parent.servers}),
        parents=tuple(_parent_status(route, name, parents[name], now) for name in sorted(parents)),
    )


def _parent_status(route: McpRoute, name: str, parent: Parent | None, now: datetime) -> ParentStatus:
    before = next((known.conditions for known in route.status.parents if known.name == name), ())
    verdicts = [*_verdicts(route, {name: parent}), *noted(parent.notices if parent else ())]
    return ParentStatus(
        name=name,
        path=parent.path if parent else "",
        server_count=len(set(parent.servers)) if parent else 0,
        conditions=conditions(verdicts, before, route.metadata.generation, now),
    )


def _verdicts(route: McpRoute, parents: Parents) -> Sequence[Verdict]:
    found = {name: parent for name, parent in parents.items() if parent is not None}
    return [_accepted(route, parents, found), _resolved(found), _programmed(found)]


def _accepted(route: McpRoute, parents: Parents, found: Mapping[str, Parent]) -> Verdict:
    if missing := sorted(set(parents) - set(found)):
        where = f"{route.metadata.namespace}/{missing[0]}"
        return no(
            Type.ACCEPTED, Reason.PARENT_NOT_FOUND, f"McpProxy {where} is not found; create it or mend parentRefs"
        )
    if conflicts := _conflicts(found):
        return no(Type.ACCEPTED, conflicts[0].reason, joined(problem.message for problem in conflicts))
    if hidden := [text for _, parent in sorted(found.items()) for text in parent.hidden]:
        return no(Type.ACCEPTED, Reason.NAME_CONFLICT, joined(hidden))
    return yes(Type.ACCEPTED, Reason.ACCEPTED, f"attached to {', '.join(sorted(found))}")


def _conflicts(found: Mapping[str, Parent]) -> list[Problem]:
    return [p for _, parent in sorted(found.items()) for p in parent.problems if p.reason in _CONFLICTS]


def _resolved(found: Mapping[str, Parent]) -> Verdict:
    if not found:
        text = "the servers that it names are looked at when it has a proxy"
        return unknown(Type.RESOLVED_REFS, Reason.PARENT_NOT_FOUND, text)
    problems = [p for _, parent in sorted(found.items()) for p in parent.problems if p.reason not in _CONFLICTS]
    for _, parent in sorted(found.items()):
        problems += [problem for _, problem in sorted((parent.left_out or {}).items())]
    if problems:
        return no(Type.RESOLVED_REFS, problems[0].reason, joined(problem.message for problem in problems))
    if _conflicts(found):
        text = "every server that the route names is found; Accepted tells which of them it has to leave to others"
        return yes(Type.RESOLVED_REFS, Reason.RESOLVED, text)
    if not any(parent.servers for parent in found.values()):
        return no(Type.RESOLVED_REFS, Reason.NO_SERVER_SELECTED, NOTHING_MATCHES)
    return yes(Type.RESOLVED_REFS, Reason.RESOLVED, "every server that the route names is served")


def _programmed(found: Mapping[str, Parent]) -> Verdict:
    waiting = [f"{name}: {parent.waiting}" for name, parent in sorted(found.items()) if parent.waiting]
    if waiting:
        return no(Type.PROGRAMMED, Reason.SWAPPING, joined(waiting))
    if not found:
        return no(Type.PROGRAMMED, Reason.PARENT_NOT_FOUND, "no proxy serves the route")
    servers = len({server for parent in found.values() for server in parent.servers})
    return yes(Type.PROGRAMMED, Reason.PROGRAMMED, f"{plural(servers, 'server')} served by {', '.join(sorted(found))}")
