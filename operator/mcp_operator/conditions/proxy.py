"""The status of an McpProxy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from mcp_operator.api.proxy import ProxyStatus
from mcp_operator.api.resources import McpProxy
from mcp_operator.compile import Compiled
from mcp_operator.conditions.notices import Notice, noted, noted_before
from mcp_operator.conditions.reasons import Reason, Type
from mcp_operator.conditions.server import Health
from mcp_operator.conditions.surroundings import Surroundings, autoscaled, exposed, monitored
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
from mcp_operator.conditions.workload import pod_trouble, workload_verdict

Body = Mapping[str, Any]
PATHS_LIMIT: Final = 256
CONTAINER: Final = "proxy"
"""Of a proxy's pods, the one that the product makes."""
_FOUND: Final = ("ready_servers", "tool_count", "replicas", "programmed_replicas", "replica_summary")
"""The fields of the status that only replicas can tell."""


@dataclass(frozen=True, slots=True)
class Replica:
    """What one pod says. `revision` is the one that it runs; `rejected` why it refused the newest."""

    pod: str
    answered: bool = True
    """False before its first answer, or failure to answer."""
    revision: str | None = None
    rejected: str | None = None
    unreachable: str | None = None
    servers: Mapping[str, str | None] | None = None
    """Server id to its state: empty when it answers, None while it has not yet, else its error class."""
    tools: int = 0


@dataclass(frozen=True, slots=True)
class ProxyObservation:
    """All that decides a proxy's status. `swap_seconds` belongs to the compiled revision; None for `deployment`: there is no such thing."""

    compiled: Compiled
    url: str
    refused: Refusal | None = None
    paused: bool = False
    deployment: Body | None = None
    pods: Sequence[Body] = ()
    replicas: Sequence[Replica] = ()
    swap_seconds: float | None = None
    health: Health | None = None
    notices: Sequence[Notice] = ()
    cluster_url: str = ""
    """By the Service; empty where there is none. `url` is where the clients are meant to reach it."""
    selector: str = ""
    around: Surroundings | None = None
    """None: nothing can stand around it, as on one machine."""


def proxy_status(proxy: McpProxy, seen: ProxyObservation, now: datetime) -> ProxyStatus:
    """The status that is true of what was observed.

    Until the first replica has answered, what a process before this one has found out about the same revision stands.
    """
    config = seen.compiled.config
    programmed = _programmed(proxy, seen)
    running = _running(seen)
    done = programmed.status == "True"
    counted, told = _around(proxy, seen)
    verdicts = [_accepted(), _resolved(seen), programmed, *counted, _healthy(proxy, seen)]
    status = ProxyStatus(
        observed_generation=proxy.metadata.generation,
        conditions=conditions(
            [*summed_up(verdicts), *told, *_apart(proxy, seen), *_noted(proxy, seen)],
            proxy.status.conditions,
            proxy.metadata.generation,
            now,
        ),
        url=seen.url,
        cluster_url=seen.cluster_url,
        selector=seen.selector,
        paths=tuple(sorted(route.path for route in config.routes))[:PATHS_LIMIT],
        server_count=len(config.servers),
        ready_servers=_ready_servers(seen),
        tool_count=max((r.tools for r in seen.replicas if r.revision == config.revision), default=0),
        revision=config.revision,
        programmed_revision=config.revision if done else proxy.status.programmed_revision,
        swap_seconds=_swap_seconds(proxy, seen, done=done),
        replicas=len(seen.replicas),
        programmed_replicas=running,
        replica_summary=f"{running}/{_wanted(proxy, seen)}",
    )
    if not _unheard(proxy, seen):
        return status
    return status.model_copy(update={field: getattr(proxy.status, field) for field in _FOUND})


def _unheard(proxy: McpProxy, seen: ProxyObservation) -> bool:
    """Whether no replica has answered yet, and the status is about the revision that they should run."""
    known = (proxy.status.observed_generation, proxy.status.revision)
    silent = bool(seen.replicas) and not any(replica.answered for replica in seen.replicas)
    return silent and known == (proxy.metadata.generation, seen.compiled.config.revision)


def _noted(proxy: McpProxy, seen: ProxyObservation) -> list[Verdict]:
    return noted_before(proxy.status.conditions) if _unheard(proxy, seen) else noted(seen.notices)


def _accepted() -> Verdict:
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
    checks = (_rejected, _held_off, _known_before, _kept_by_outdated, _rolled_out, _in_use, _in_trouble)
    verdicts = (check(proxy, seen) for check in checks)
    running = _running(seen)
    waiting = f"{running} of {plural(_wanted(proxy, seen), 'replica')} run revision {seen.compiled.config.revision}"
    return next((v for v in verdicts if v), None) or no(Type.PROGRAMMED, Reason.SWAPPING, waiting)


def _rejected(_: McpProxy, seen: ProxyObservation) -> Verdict | None:
    outdated = _outdated(seen)
    refusing = next((replica for replica in seen.replicas if replica.rejected and replica.pod not in outdated), None)
    if refusing is None:
        return None
    message = f"pod {refusing.pod} refused its configuration and keeps {_kept(refusing)}: {refusing.rejected}"
    return no(Type.PROGRAMMED, Reason.CONFIG_REJECTED, message)


def _kept_by_outdated(_: McpProxy, seen: ProxyObservation) -> Verdict | None:
    """Pods of another version may refuse what is new in this one; no edit is needed, as they are being replaced."""
    outdated = _outdated(seen)
    refusing = next((replica for replica in seen.replicas if replica.rejected and replica.pod in outdated), None)
    if refusing is None:
        return None
    rollout = workload_verdict(seen.deployment, seen.pods)
    reason, why = (Reason.DEPLOYING, "") if rollout.status == "True" else (rollout.reason, f"; {rollout.message}")
    message = (
        f"pod {refusing.pod} is of another version, can't read its configuration ({refusing.rejected}) "
        f"and keeps {_kept(refusing)} until it is replaced{why}"
    )
    return no(Type.PROGRAMMED, reason, message)


def _kept(refusing: Replica) -> str:
    return refusing.revision or "no configuration at all"


def _outdated(seen: ProxyObservation) -> frozenset[str]:
    """Names of the pods with another image than the Deployment asks for."""
    wanted = _images((seen.deployment or {}).get("spec", {}).get("template", {}))
    return frozenset(
        pod["metadata"]["name"] for pod in seen.pods if wanted and _images(pod).get(CONTAINER) != wanted.get(CONTAINER)
    )


def _images(pod: Body) -> dict[str, str]:
    """Of the containers, by their names."""
    return {found["name"]: found.get("image", "") for found in pod.get("spec", {}).get("containers") or ()}


def _held_off(proxy: McpProxy, seen: ProxyObservation) -> Verdict | None:
    if seen.paused:
        return unknown(Type.PROGRAMMED, Reason.PAUSED, "the annotation mcp-operator.dev/paused holds the operator off")
    if seen.refused:
        return no(Type.PROGRAMMED, seen.refused.reason, seen.refused.message)
    if (kept := seen.compiled.kept) is not None:
        return no(Type.PROGRAMMED, Reason(kept.reason), kept.message)
    if _wanted(proxy, seen) == 0:
        what = "the Deployment is scaled to" if proxy.spec.fixed_replicas is None else "spec.replicas is"
        return no(Type.PROGRAMMED, Reason.NO_REPLICAS, f"{what} 0: nothing serves")
    return None


def _known_before(proxy: McpProxy, seen: ProxyObservation) -> Verdict | None:
    return standing(Type.PROGRAMMED, proxy.status.conditions) if _unheard(proxy, seen) else None


def _rolled_out(_: McpProxy, seen: ProxyObservation) -> Verdict | None:
    """A Deployment that is not done: its own trouble, or, where every replica that is up runs the revision, that it is not done."""
    if seen.deployment is None:
        return None
    rollout = workload_verdict(seen.deployment, seen.pods)
    up = [replica for replica in seen.replicas if replica.pod not in _starting(seen)]
    running = all(replica.revision == seen.compiled.config.revision for replica in up)
    if rollout.status == "True" or (rollout.reason == Reason.DEPLOYING and not running):
        return None
    return rollout


def _starting(seen: ProxyObservation) -> frozenset[str]:
    """Names of the pods that are not ready: that such a one does not answer is no trouble yet."""
    ready = {"type": "Ready", "status": "True"}.items()
    return frozenset(
        pod["metadata"]["name"]
        for pod in seen.pods
        if not any(ready <= condition.items() for condition in pod.get("status", {}).get("conditions") or ())
    )


def _in_use(proxy: McpProxy, seen: ProxyObservation) -> Verdict | None:
    if not _all_run_it(proxy, seen):
        return None
    return yes(Type.PROGRAMMED, Reason.PROGRAMMED, _programmed_message(proxy, seen, _running(seen)))


def _in_trouble(_: McpProxy, seen: ProxyObservation) -> Verdict | None:
    if trouble := pod_trouble(seen.pods):
        return no(Type.PROGRAMMED, *trouble)
    unreachable = next((replica for replica in seen.replicas if replica.unreachable), None)
    if unreachable is None:
        return None
    message = f"pod {unreachable.pod} does not say which revision it runs: {unreachable.unreachable}"
    return no(Type.PROGRAMMED, Reason.REPLICA_UNREACHABLE, message)


def _wanted(proxy: McpProxy, seen: ProxyObservation) -> int:
    """Pods that there shall be: by the spec, or by whoever else scales the Deployment."""
    if proxy.spec.fixed_replicas is not None:
        return proxy.spec.fixed_replicas
    return int((seen.deployment or {}).get("spec", {}).get("replicas", 1))


def _around(proxy: McpProxy, seen: ProxyObservation) -> tuple[list[Verdict], list[Verdict]]:
    """Verdicts on what stands around the pods: those that decide `Ready`, and those that are only told."""
    if seen.around is None:
        return [], []
    way_in = exposed(proxy, seen.around, seen.url)
    told = [way_in, autoscaled(proxy, seen.around), monitored(proxy, seen.around)]
    found = [verdict for verdict in told if verdict is not None]
    counted = [verdict for verdict in found if verdict is way_in and verdict.status == "False"]
    return counted, [verdict for verdict in found if verdict not in counted]


def _apart(proxy: McpProxy, seen: ProxyObservation) -> list[Verdict]:
    """A warning where there are, or may be, several processes that would have to share what each has for itself."""
    several = proxy.spec.workers > 1 or proxy.spec.autoscaling is not None or _wanted(proxy, seen) > 1
    if not several or seen.around is None or not seen.compiled.unshared:
        return []
    message = f"each replica and worker has its own: {joined(seen.compiled.unshared)}"
    return [Verdict(Type.SERVICES_NOT_SHARED, "True", Reason.KEPT_APART, message)]


def _running(seen: ProxyObservation) -> int:
    return sum(1 for replica in seen.replicas if replica.revision == seen.compiled.config.revision)


def _all_run_it(proxy: McpProxy, seen: ProxyObservation) -> bool:
    return len(seen.replicas) == _running(seen) >= _wanted(proxy, seen)


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


def _healthy(proxy: McpProxy, seen: ProxyObservation) -> Verdict:
    health = seen.health
    if health is None or health.healthy is None:
        known = proxy.status.observed_generation == proxy.metadata.generation
        if known and (before := standing(Type.HEALTHY, proxy.status.conditions)):
            return before
        return unknown(Type.HEALTHY, Reason.NOT_PROBED, "no probe through the Service has succeeded yet")
    if not health.healthy:
        return no(Type.HEALTHY, health.error_class, health.error)
    before = standing(Type.HEALTHY, proxy.status.conditions)
    if before and before.status == "True" and _unheard(proxy, seen):
        return before
    silent = _silent_servers(seen)
    total = plural(len(seen.compiled.config.servers), "server")
    if silent:
        named = ", ".join(f"{server} ({why})" for server, why in sorted(silent.items())[:5])
        return yes(Type.HEALTHY, Reason.ANSWERING, f"the proxy answers; {len(silent)} of {total} not: {named}")
    if waiting := len(seen.compiled.config.servers) - _ready_servers(seen):
        return yes(Type.HEALTHY, Reason.ANSWERING, f"the proxy answers; {waiting} of {total} not heard of yet")
    return yes(Type.HEALTHY, Reason.ANSWERING, f"the proxy and its {total} answer")


def _ready_servers(seen: ProxyObservation) -> int:
    """Servers that every replica which knows them reaches."""
    told: dict[str, bool] = {}
    for replica in seen.replicas:
        for server, trouble in (replica.servers or {}).items():
            told[server] = told.get(server, True) and trouble == ""
    return sum(1 for server in seen.compiled.config.servers if told.get(server.id, False))


def _silent_servers(seen: ProxyObservation) -> dict[str, str]:
    """Servers that some replica does not reach, with the first error class."""
    silent: dict[str, str] = {}
    for replica in sorted(seen.replicas, key=lambda replica: replica.pod):
        for server, trouble in (replica.servers or {}).items():
            if trouble:
                silent.setdefault(server, trouble)
    known = {server.id for server in seen.compiled.config.servers}
    return {server: why for server, why in silent.items() if server in known}
