"""The status of an McpProxy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mcp_operator.api.proxy import ProxyStatus
from mcp_operator.api.resources import McpProxy
from mcp_operator.compile import Compiled
from mcp_operator.conditions.reasons import Reason, Type
from mcp_operator.conditions.server import Health
from mcp_operator.conditions.verdict import Verdict, conditions, joined, no, plural, summed_up, unknown, yes
from mcp_operator.conditions.workload import pod_trouble

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Replica:
    """What one pod says. `revision` is the one that it runs; `rejected` why it refused the newest."""

    pod: str
    revision: str | None = None
    rejected: str | None = None
    unreachable: str | None = None
    servers: Mapping[str, str] | None = None
    """Server id to its state: empty when it answers, else its error class."""
    tools: int = 0


@dataclass(frozen=True, slots=True)
class ProxyObservation:
    """All that decides a proxy's status. `swap_seconds` belongs to the compiled revision."""

    compiled: Compiled
    url: str
    refused: str | None = None
    paused: bool = False
    pods: Sequence[Body] = ()
    replicas: Sequence[Replica] = ()
    swap_seconds: float | None = None
    health: Health | None = None


def proxy_status(proxy: McpProxy, seen: ProxyObservation, now: datetime) -> ProxyStatus:
    """The status that is true of what was observed."""
    config = seen.compiled.config
    programmed = _programmed(proxy, seen)
    running = [replica for replica in seen.replicas if replica.revision == config.revision]
    done = programmed.status == "True"
    verdicts = [_accepted(seen), _resolved(seen), programmed, _healthy(seen)]
    return ProxyStatus(
        observed_generation=proxy.metadata.generation,
        conditions=conditions(summed_up(verdicts), proxy.status.conditions, proxy.metadata.generation, now),
        url=seen.url,
        paths=tuple(sorted(route.path for route in config.routes)),
        server_count=len(config.servers),
        ready_servers=len(config.servers) - len(_silent_servers(seen)) if seen.replicas else 0,
        tool_count=max((replica.tools for replica in running), default=0),
        revision=config.revision,
        programmed_revision=config.revision if done else proxy.status.programmed_revision,
        swap_seconds=_swap_seconds(proxy, seen, done=done),
        replicas=len(seen.replicas),
        programmed_replicas=len(running),
        replica_summary=f"{len(running)}/{proxy.spec.replicas}",
    )


def _accepted(seen: ProxyObservation) -> Verdict:
    if seen.refused:
        return no(Type.ACCEPTED, Reason.APPLY_REFUSED, seen.refused)
    return yes(Type.ACCEPTED, Reason.ACCEPTED, "the spec is valid")


def _resolved(seen: ProxyObservation) -> Verdict:
    problems = [*seen.compiled.proxy_problems]
    problems += [problem for _, problem in sorted(seen.compiled.left_out.items())]
    if problems:
        left_out = "".join(
            f" (left out: {', '.join(sorted(seen.compiled.left_out)[:5])})" if seen.compiled.left_out else ""
        )
        return no(Type.RESOLVED_REFS, problems[0].reason, joined(problem.message for problem in problems) + left_out)
    return yes(Type.RESOLVED_REFS, Reason.RESOLVED, "every server that was chosen is served")


def _programmed(proxy: McpProxy, seen: ProxyObservation) -> Verdict:
    revision, wanted = seen.compiled.config.revision, proxy.spec.replicas
    refusing = [replica for replica in seen.replicas if replica.rejected]
    if refusing:
        kept = refusing[0].revision or "no configuration at all"
        return no(
            Type.PROGRAMMED,
            Reason.CONFIG_REJECTED,
            f"pod {refusing[0].pod} refused its configuration and keeps {kept}: {refusing[0].rejected}",
        )
    if seen.paused:
        return unknown(Type.PROGRAMMED, Reason.PAUSED, "the annotation mcp-operator.dev/paused holds the operator off")
    if wanted == 0:
        return no(Type.PROGRAMMED, Reason.NO_REPLICAS, "spec.replicas is 0: nothing serves")
    running = sum(1 for replica in seen.replicas if replica.revision == revision)
    if running >= wanted and running == len(seen.replicas):
        return yes(Type.PROGRAMMED, Reason.PROGRAMMED, _programmed_message(proxy, seen, running))
    if trouble := pod_trouble(seen.pods):
        return no(Type.PROGRAMMED, *trouble)
    unreachable = [replica for replica in seen.replicas if replica.unreachable]
    if unreachable:
        message = f"pod {unreachable[0].pod} does not say which revision it runs: {unreachable[0].unreachable}"
        return no(Type.PROGRAMMED, Reason.REPLICA_UNREACHABLE, message)
    return no(Type.PROGRAMMED, Reason.SWAPPING, f"{running} of {plural(wanted, 'replica')} run revision {revision}")


def _programmed_message(proxy: McpProxy, seen: ProxyObservation, running: int) -> str:
    taken = _swap_seconds(proxy, seen, done=True)
    after = "" if taken is None else f", {taken:g} s after it was written"
    return (
        f"{plural(running, 'replica')} run{'s' if running == 1 else ''} revision {seen.compiled.config.revision}{after}"
    )


def _swap_seconds(proxy: McpProxy, seen: ProxyObservation, *, done: bool) -> float | None:
    """Seconds of the current revision, once known; they stay in the status over a restart of the operator."""
    if not done:
        return proxy.status.swap_seconds
    if proxy.status.programmed_revision == seen.compiled.config.revision:
        return proxy.status.swap_seconds
    return None if seen.swap_seconds is None else round(seen.swap_seconds, 3)


def _healthy(seen: ProxyObservation) -> Verdict:
    health = seen.health
    if health is None or health.healthy is None:
        return unknown(Type.HEALTHY, Reason.NOT_PROBED, "no probe through the Service has succeeded yet")
    if not health.healthy:
        return no(Type.HEALTHY, health.error_class, health.error)
    silent = _silent_servers(seen)
    total = plural(len(seen.compiled.config.servers), "server")
    if silent:
        named = ", ".join(f"{server} ({why})" for server, why in sorted(silent.items())[:5])
        return yes(Type.HEALTHY, Reason.ANSWERING, f"the proxy answers; {len(silent)} of {total} not: {named}")
    return yes(Type.HEALTHY, Reason.ANSWERING, f"the proxy and its {total} answer")


def _silent_servers(seen: ProxyObservation) -> dict[str, str]:
    """Servers that some replica does not reach, with the first error class."""
    silent: dict[str, str] = {}
    for replica in sorted(seen.replicas, key=lambda replica: replica.pod):
        for server, trouble in (replica.servers or {}).items():
            if trouble:
                silent.setdefault(server, trouble)
    known = {server.id for server in seen.compiled.config.servers}
    return {server: why for server, why in silent.items() if server in known}
