"""The status of an McpRoute."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from mcp_operator.api.resources import McpRoute
from mcp_operator.api.route import RouteStatus
from mcp_operator.compile.problems import Problem
from mcp_operator.conditions.reasons import Reason, Type
from mcp_operator.conditions.verdict import Verdict, conditions, joined, no, plural, summed_up, yes

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
    waiting: str | None = None


def route_status(route: McpRoute, parents: Mapping[str, Parent | None], now: datetime) -> RouteStatus:
    """The status that is true of what was observed.

    `parents` maps each parentRef to how that proxy took the route; None where there is no such proxy.
    """
    found = {name: parent for name, parent in parents.items() if parent is not None}
    verdicts = [_accepted(route, parents, found), _resolved(found), _programmed(found)]
    return RouteStatus(
        observed_generation=route.metadata.generation,
        conditions=conditions(summed_up(verdicts), route.status.conditions, route.metadata.generation, now),
        proxies=", ".join(sorted(found)),
        path=next((found[name].path for name in sorted(found)), route.spec.path or ""),
        server_count=len({server for parent in found.values() for server in parent.servers}),
    )


def _accepted(route: McpRoute, parents: Mapping[str, Parent | None], found: Mapping[str, Parent]) -> Verdict:
    if missing := sorted(set(parents) - set(found)):
        where = f"{route.metadata.namespace}/{missing[0]}"
        return no(
            Type.ACCEPTED, Reason.PARENT_NOT_FOUND, f"McpProxy {where} is not found; create it or mend parentRefs"
        )
    conflicts = [
        problem for _, parent in sorted(found.items()) for problem in parent.problems if problem.reason in _CONFLICTS
    ]
    if conflicts:
        return no(Type.ACCEPTED, conflicts[0].reason, joined(problem.message for problem in conflicts))
    if hidden := [text for _, parent in sorted(found.items()) for text in parent.hidden]:
        return no(Type.ACCEPTED, Reason.NAME_CONFLICT, joined(hidden))
    return yes(Type.ACCEPTED, Reason.ACCEPTED, f"attached to {', '.join(sorted(found))}")


def _resolved(found: Mapping[str, Parent]) -> Verdict:
    problems = [p for _, parent in sorted(found.items()) for p in parent.problems if p.reason not in _CONFLICTS]
    for _, parent in sorted(found.items()):
        problems += [problem for _, problem in sorted((parent.left_out or {}).items())]
    if problems:
        return no(Type.RESOLVED_REFS, problems[0].reason, joined(problem.message for problem in problems))
    if found and not any(parent.servers for parent in found.values()):
        return no(
            Type.RESOLVED_REFS,
            Reason.NO_SERVER_SELECTED,
            "no McpServer matches; check the selector and the servers' labels",
        )
    return yes(Type.RESOLVED_REFS, Reason.RESOLVED, "every server that the route names is served")


def _programmed(found: Mapping[str, Parent]) -> Verdict:
    waiting = [f"{name}: {parent.waiting}" for name, parent in sorted(found.items()) if parent.waiting]
    if waiting:
        return no(Type.PROGRAMMED, Reason.SWAPPING, joined(waiting))
    if not found:
        return no(Type.PROGRAMMED, Reason.PARENT_NOT_FOUND, "no proxy serves the route")
    servers = len({server for parent in found.values() for server in parent.servers})
    return yes(Type.PROGRAMMED, Reason.PROGRAMMED, f"{plural(servers, 'server')} served by {', '.join(sorted(found))}")
