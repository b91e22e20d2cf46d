"""The status of an McpServer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from mcp_operator.api import meta
from mcp_operator.api.common import Condition
from mcp_operator.api.pinning import Definitions, PinnedTool
from mcp_operator.api.resources import McpServer
from mcp_operator.api.server import Probe, ServerInfo, ServerStatus, Tools
from mcp_operator.compile.problems import Problem
from mcp_operator.compile.servers import cluster_url
from mcp_operator.conditions.canary import CanaryObservation, canary_verdict
from mcp_operator.conditions.pinning import Pins, pinned_verdict
from mcp_operator.conditions.pinning import shown as shown_in_status
from mcp_operator.conditions.reasons import Reason, Type
from mcp_operator.conditions.verdict import (
    Refusal,
    Verdict,
    conditions,
    joined,
    no,
    plural,
    standing,
    summed_up,
    unknown,
    yes,
)
from mcp_operator.conditions.workload import workload_verdict

Body = Mapping[str, Any]
TOOL_NAMES_LIMIT: Final = 2000
TOOL_NAMES_BYTES: Final = 256 * 1024
"""What the names may take up of a status: an object has room for about a megabyte."""
CRASH_LOOP: Final = "CrashLoop"
"""Class of what a bridge tells of a process that ends at every start."""
_FOUND: Final = ("server_info", "protocol_version", "transport", "tools", "probe")
"""The fields of the status that probes fill."""


@dataclass(frozen=True, slots=True)
class Health:
    """What the probes found. `healthy` is None before the first verdict; lists are the last good ones."""

    healthy: bool | None = None
    recovering: bool = False
    """It is not healthy, and the last probe was good: more of them in a row make it healthy."""
    doubted: bool = False
    """A replica has begun to say that it does not reach it, and no probe has begun since."""
    error_class: str = ""
    error: str = ""
    consecutive_failures: int = 0
    server_name: str = ""
    server_version: str = ""
    protocol_version: str = ""
    transport: str = ""
    tools: tuple[str, ...] = ()
    tools_digest: str = ""
    definitions: tuple[tuple[str, str], ...] | None = None
    """Name and canonical definition of each tool, where they are pinned."""
    latency_seconds: float | None = None
    time: datetime | None = None

    @property
    def answers(self) -> bool | None:
        """Whether it does, as far as a restart is concerned; None while that is not decided."""
        return None if self.recovering else self.healthy


@dataclass(frozen=True, slots=True)
class Failure:
    """A replica that does not reach the server, and why."""

    pod: str
    error_class: str
    error: str


@dataclass(frozen=True, slots=True)
class Unreached:
    """A proxy some replicas of which do not reach the server."""

    proxy: str
    """Id of the McpProxy."""
    told: int
    """Replicas that say whether they reach it."""
    failures: tuple[Failure, ...]
    """Those that do not, sorted by pod."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """A proxy where somebody has stopped the server, over REST."""

    proxy: str
    """Id of the McpProxy."""
    pods: tuple[str, ...]
    """Replicas that were told so."""


@dataclass(frozen=True, slots=True)
class Clients:
    """What the replicas of all proxies that serve the server say of it: what clients meet."""

    unreached: tuple[Unreached, ...] = ()
    """Sorted by proxy."""
    reached: bool = False
    """Some replica reaches it."""
    waiting: bool = False
    """Some proxy or replica has not told yet."""
    stopped: tuple[Stopped, ...] = ()
    """Sorted by proxy."""

    @property
    def all_reach_it(self) -> bool:
        return self.reached and not self.unreached


@dataclass(frozen=True, slots=True)
class ServerObservation:
    """All that decides a server's status."""

    unsupported: Problem | None = None
    undecided: Problem | None = None
    """What of the spec can't be acted on, while the server is served nevertheless."""
    notices: Sequence[Verdict] = ()
    unresolved: tuple[Problem, ...] = ()
    refused: Refusal | None = None
    paused: bool = False
    deployment: Body | None = None
    pods: Sequence[Body] = ()
    health: Health | None = None
    clients: Clients = Clients()
    canary: CanaryObservation | None = None
    """None where the spec declares none, or nobody makes the call."""
    pins: Pins | None = None
    """None where its definitions are not pinned."""
    restarts: int = 0
    restarted_at: datetime | None = None
    restarts_reset: str = ""
    in_vain: bool = False
    """It was restarted as often as it may be, and still does not answer."""
    url: str | None = None
    """Where it is reached; None: its address in the cluster."""


def server_status(server: McpServer, seen: ServerObservation, now: datetime) -> ServerStatus:
    """The status that is true of what was observed.

    Until the probes come to a verdict, that of the same generation stands which a process before this one has found.
    """
    before = _healthy_before(server, seen)
    healthy = before or _recently_unreached(server, seen) or _healthy(server, seen)
    verdicts = [_accepted(seen), _resolved(seen), _programmed(server, seen), healthy]
    health = seen.health or Health()
    status = ServerStatus(
        observed_generation=server.metadata.generation,
        conditions=conditions(
            [*_all_of(server, seen, verdicts), *seen.notices], server.status.conditions, server.metadata.generation, now
        ),
        hosting=server.spec.hosting,
        url=seen.url or cluster_url(server),
        server_info=ServerInfo(name=health.server_name[:1024], version=health.server_version[:1024])
        if health.server_name
        else None,
        protocol_version=health.protocol_version[:64],
        transport=health.transport,
        tools=Tools(count=len(health.tools), names=_names(health.tools), digest=health.tools_digest),
        probe=_probe(health),
        restarts=seen.restarts,
        restarted_at=seen.restarted_at,
        restarts_reset=seen.restarts_reset[:256],
        definitions=_definitions(seen.pins),
    )
    if before:
        return status.model_copy(update={field: getattr(server.status, field) for field in _FOUND})
    return status.model_copy(update={"probe": server.status.probe}) if _same_found(server.status, status) else status


def _definitions(pins: Pins | None) -> Definitions | None:
    """The record, and what differs from it."""
    if pins is None or pins.record is None:
        return None
    return Definitions(
        recorded_at=pins.record.at,
        pinned=tuple(PinnedTool(tool=tool, digest=digest) for tool, digest in pins.record.tools.items()),
        unapproved=shown_in_status(pins.unapproved),
        unapproved_count=len(pins.unapproved),
    )


def invalid_status(message: str, generation: int, now: datetime, previous: Iterable[Condition] = ()) -> dict[str, Any]:
    """The status, in the API's shape, of a body of any kind that the operator cannot even read."""
    verdicts = summed_up([no(Type.ACCEPTED, Reason.INVALID, message)])
    listed = conditions(verdicts, previous, generation, now)
    return {"observedGeneration": generation, "conditions": [c.model_dump(mode="json", by_alias=True) for c in listed]}


def _all_of(server: McpServer, seen: ServerObservation, verdicts: list[Verdict]) -> list[Verdict]:
    """The verdicts summed up. A canary that is not required has no part in `Ready`."""
    canary = None if seen.canary is None else canary_verdict(seen.canary, _of_this_generation(server))
    decisive = canary is not None and server.spec.canary is not None and server.spec.canary.required
    listed = summed_up([*verdicts, canary] if canary and decisive else verdicts, well=verdicts[-1].message)
    if canary and not decisive:
        listed.append(canary)
    if seen.pins is not None:
        listed.append(pinned_verdict(seen.pins))
    if seen.in_vain and all(verdict.type != Type.STALLED for verdict in listed):
        listed.append(Verdict(Type.STALLED, "True", Reason.RESTART_LIMIT_REACHED, _in_vain(seen)))
    return listed


def _in_vain(seen: ServerObservation) -> str:
    return (
        f"it was restarted {plural(seen.restarts, 'time')} and still does not answer; mend it, then edit the spec or give the "
        f"annotation {meta.ANNOTATION_RESET_RESTARTS} a new value to have it restarted again"
    )


def _of_this_generation(server: McpServer) -> tuple[Condition, ...]:
    known = server.status.observed_generation == server.metadata.generation
    return server.status.conditions if known else ()


def _accepted(seen: ServerObservation) -> Verdict:
    if problem := seen.unsupported or seen.undecided:
        return no(Type.ACCEPTED, problem.reason, problem.message)
    return yes(Type.ACCEPTED, Reason.ACCEPTED, "the spec is valid")


def _resolved(seen: ServerObservation) -> Verdict:
    if seen.unresolved:
        return no(Type.RESOLVED_REFS, seen.unresolved[0].reason, joined(problem.message for problem in seen.unresolved))
    return yes(Type.RESOLVED_REFS, Reason.RESOLVED, "everything that the spec refers to exists")


def _programmed(server: McpServer, seen: ServerObservation) -> Verdict:
    if server.spec.remote:
        return yes(Type.PROGRAMMED, Reason.NOT_HOSTED, "a remote server needs no workload")
    if seen.paused:
        return unknown(Type.PROGRAMMED, Reason.PAUSED, "the annotation mcp-operator.dev/paused holds the operator off")
    if seen.refused:
        return no(Type.PROGRAMMED, seen.refused.reason, seen.refused.message)
    rollout = workload_verdict(seen.deployment, seen.pods)
    if rollout.reason == Reason.DEPLOYING and seen.health and seen.health.error_class == CRASH_LOOP:
        return no(Type.PROGRAMMED, Reason.CRASHING, f"the process in its pod does not stay: {seen.health.error}")
    return rollout


def _healthy_before(server: McpServer, seen: ServerObservation) -> Verdict | None:
    decided = seen.health is not None and seen.health.healthy is not None
    if decided or seen.unsupported or seen.unresolved:
        return None
    return standing(Type.HEALTHY, _of_this_generation(server))


def _recently_unreached(server: McpServer, seen: ServerObservation) -> Verdict | None:
    """That a replica does not reach it stands, after a restart of the operator, until the replicas have been heard again."""
    if seen.unsupported or seen.unresolved or not seen.clients.waiting or seen.clients.unreached:
        return None
    if seen.health is None or not seen.health.healthy or seen.health.error_class:
        return None
    before = standing(Type.HEALTHY, _of_this_generation(server))
    return before if before and before.reason == Reason.PARTLY_REACHABLE else None


def _healthy(server: McpServer, seen: ServerObservation) -> Verdict:
    health = seen.health
    if seen.unsupported or seen.unresolved:
        return unknown(Type.HEALTHY, Reason.NOT_PROBED, "it is not probed before what is said above is mended")
    if health is None or health.healthy is None:
        if health and health.error_class:
            return unknown(
                Type.HEALTHY, Reason.NOT_PROBED, f"no probe has succeeded yet: {health.error_class}: {health.error}"
            )
        return unknown(Type.HEALTHY, Reason.NOT_PROBED, "the first probe is under way")
    if health.recovering:
        return no(
            Type.HEALTHY, Reason.RECOVERING, "it answers again; it is healthy after health.successThreshold good probes"
        )
    clients = _of_all(server, seen.clients)
    if health.healthy and clients.unreached:
        return _unreached_by_some(server, health, clients)
    if health.healthy and server.spec.credential is not None and not health.protocol_version:
        answers = "it answers, and asks for the credential that proxies show to it"
        return _stopped(answers, clients) or yes(Type.HEALTHY, Reason.ANSWERING, answers)
    if health.healthy:
        who = " ".join(part for part in (health.server_name, health.server_version) if part) or "it"
        answers = f"{who} answers with {plural(len(health.tools), 'tool')}"
        return _stopped(answers, clients) or yes(Type.HEALTHY, Reason.ANSWERING, answers)
    told = "; the proxies that serve it reached it when last asked" if seen.clients.all_reach_it else ""
    return no(Type.HEALTHY, health.error_class, health.error + told)


def _stopped(answers: str, clients: Clients) -> Verdict | None:
    """Nothing is wrong with it, and clients do not see it: somebody wants it so."""
    if not clients.stopped:
        return None
    where = joined(f"McpProxy {one.proxy} ({joined(one.pods, limit=3, separator=', ')})" for one in clients.stopped)
    return yes(Type.HEALTHY, Reason.STOPPED, f"{answers}; it was stopped over REST at {where}, where no client sees it")


def _of_all(server: McpServer, clients: Clients) -> Clients:
    """Without replicas that only wait for a user's credential: each user has a session of its own with such a server."""
    if not server.spec.of_users:
        return clients
    found = []
    for one in clients.unreached:
        failures = tuple(failure for failure in one.failures if failure.error_class != "Unauthorized")
        if failures:
            found.append(replace(one, failures=failures))
    return replace(clients, unreached=tuple(found))


def _unreached_by_some(server: McpServer, health: Health, clients: Clients) -> Verdict:
    """The operator has reached it, and now replicas do not: who sees what.

    A probe that is older than their word proves nothing against it: until the next one, what was said before stands. Where
    that fails too, it is one more witness: `failureThreshold` is for failures that only the operator meets.
    """
    if health.error_class:
        return no(Type.HEALTHY, health.error_class, health.error)
    who = joined(_unreached(found) for found in clients.unreached)
    if health.doubted:
        looking = unknown(Type.HEALTHY, Reason.NOT_PROBED, f"it is being probed, as it is not reached by {who}")
        return standing(Type.HEALTHY, _of_this_generation(server)) or looking
    return no(Type.HEALTHY, Reason.PARTLY_REACHABLE, f"the operator reaches it, but not {who}")


def _unreached(found: Unreached) -> str:
    each = joined((f"{f.pod} ({f.error_class}: {f.error})" for f in found.failures), limit=2, separator=", ")
    return f"{len(found.failures)} of {plural(found.told, 'replica')} of McpProxy {found.proxy}: {each}"


def _probe(health: Health) -> Probe | None:
    if health.time is None:
        return None
    latency = health.latency_seconds
    return Probe(
        time=health.time,
        latency_milliseconds=None if latency is None else _two_digits(latency * 1000),
        latency="" if latency is None else shown(latency),
        consecutive_failures=health.consecutive_failures,
        error_class=health.error_class,
        error=health.error[:4096],
    )


def _same_found(old: ServerStatus, new: ServerStatus) -> bool:
    """Whether only the time of the probe is new, and its latency within a factor of two, as after a restart."""
    if old.probe is None or new.probe is None or any(getattr(old, f) != getattr(new, f) for f in _FOUND[:-1]):
        return False
    one, other = old.probe.latency_milliseconds, new.probe.latency_milliseconds
    near = one == other or (one is not None and other is not None and one < 2 * other and other < 2 * one)
    times = ("time", "latency_milliseconds", "latency")
    return near and new.probe == old.probe.model_copy(update={field: getattr(new.probe, field) for field in times})


def _names(tools: Sequence[str]) -> tuple[str, ...]:
    """The first names, as many as a status has room for."""
    names, room = [], TOOL_NAMES_BYTES
    for name in tools[:TOOL_NAMES_LIMIT]:
        clipped = name[:1024]
        room -= len(clipped.encode())
        if room < 0:
            break
        names.append(clipped)
    return tuple(names)


def shown(latency: float) -> str:
    """Seconds for people: `3.2ms`, `140ms`, `2.1s`."""
    milliseconds = _two_digits(latency * 1000)
    return f"{milliseconds / 1000:g}s" if milliseconds >= 1000 else f"{milliseconds:g}ms"


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")
