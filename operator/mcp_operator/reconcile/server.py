"""McpServer: its Deployment and Service if it is hosted, its probe, its status."""

import logging
import secrets
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mcp_operator.api import meta
from mcp_operator.api.common import seconds
from mcp_operator.api.resources import McpServer
from mcp_operator.compile.consent import consent_problem
from mcp_operator.compile.content import files_digest
from mcp_operator.compile.problems import Problem
from mcp_operator.compile.references import Resolved, decoded, resolve
from mcp_operator.compile.servers import IDENTITY_KEY, child_name, cluster_url, has_key, identity_name
from mcp_operator.conditions.notices import noted_before
from mcp_operator.conditions.server import Clients, ServerObservation, server_status
from mcp_operator.conditions.workload import workload_verdict
from mcp_operator.desired.restarts import PAUSE, Decision, Restarts, decide
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import Object, is_controlled_by
from mcp_operator.engine.worker import Result
from mcp_operator.kube.paths import built_in
from mcp_operator.reconcile.canary import call_canary
from mcp_operator.reconcile.children import RETRY_SECONDS, Refused, apply_children
from mcp_operator.reconcile.compilation import wants_logs
from mcp_operator.reconcile.context import Context
from mcp_operator.reconcile.definitions import PinWork, look_at_pins, unapproved
from mcp_operator.reconcile.hosted import hosted_children, template_annotations
from mcp_operator.reconcile.hurry import hurry
from mcp_operator.reconcile.observed import health_view, is_paused, probe_target
from mcp_operator.reconcile.pinning import live_pins, take_away_approval, tell_of_pins
from mcp_operator.reconcile.swaps import annotated_with

log = logging.getLogger(__name__)


async def reconcile_server(context: Context, key: Key, server: McpServer) -> Result:
    """Make the cluster run what `server` says, have it probed, and tell the truth in its status."""
    identity = await _identity_key(context, server)
    objects = await context.world.data([server])
    resolved = resolve(server, objects)
    paused = is_paused(server)
    clients = context.clients_of(server)
    past = _past(server, _deployment(context, server))
    decision = Decision(past) if paused else _restarts(context, key, server, past, clients)
    desired = hosted_children(
        server,
        context.settings,
        objects,
        _deployment(context, server),
        restarted_at=decision.restarts.last,
        identity=identity,
    )
    problem = desired if isinstance(desired, Problem) else None
    health = health_view(context.prober.health(key))
    pinned = look_at_pins(
        server,
        health,
        live_pins(context, server),
        context.sights.unapproved(server.id, {(one.tool, one.digest) for one in unapproved(server)}),
        datetime.now(UTC).replace(microsecond=0),
        paused=paused,
    )
    refused: Refused | None = None
    unpinned: Refused | None = None
    lag: float | None = None
    if not isinstance(desired, Problem) and not paused:
        refused, unpinned = await _apply(context, server, [*pinned.children, *desired], past, decision.restarts)
        lag = await _renew_files(context, key, server, files_digest(server, objects))
    probed = problem is None and not resolved.problems
    _probe(context, key, server, resolved, probed=probed)
    canary = call_canary(context, key, server, objects, called=probed)
    seen = ServerObservation(
        unsupported=problem,
        undecided=_undecided(context, server),
        notices=context.notices.of_server(key, noted_before(server.status.conditions)),
        unresolved=(*resolved.problems, *resolved.pulling),
        refused=refused.refusal if refused else None,
        paused=paused,
        deployment=_deployment(context, server),
        pods=context.world.pods(server),
        health=health,
        clients=clients,
        canary=canary,
        pins=pinned.pins and replace(pinned.pins, refused=unpinned.refusal if unpinned else None),
        restarts=decision.restarts.count if not refused else past.count,
        restarted_at=decision.restarts.last if not refused else past.last,
        restarts_reset=_reset(server),
        in_vain=decision.in_vain,
    )
    written = await context.status.write(server, server_status(server, seen, datetime.now(UTC)))
    if written and _is_reset(server) and server.status.restarts:
        context.status.tell_reset(server)
    if pinned.pins is not None:
        await _tell_pins(context, key, server, pinned, written=written)
    if (refused and refused.retry) or (unpinned and unpinned.retry):
        return Result(requeue_after=RETRY_SECONDS)
    return Result(requeue_after=min((s for s in (lag, decision.again_after) if s is not None), default=None))


async def _tell_pins(context: Context, key: Key, server: McpServer, work: PinWork, *, written: bool) -> None:
    """Have the proxies look at a new record; heed an approval for good."""
    if written or work.folded.unknown:
        tell_of_pins(context, server, work)
    if work.changes(server):
        for proxy in sorted(context.world.proxies_of(key)):
            context.enqueue(proxy)
    await take_away_approval(context, server, work)


def _undecided(context: Context, server: McpServer) -> Problem | None:
    """Whether its consent to routes asks for what the operator can't read."""
    return consent_problem(server) if not context.world.reads_namespaces else None


async def _identity_key(context: Context, server: McpServer) -> bytes | None:
    """The key by which proxies sign what they ask the server's bridge, as its Secret holds it; a new one where there is none.

    What the store lacks is asked for: another key would be refused until every proxy and pod has it.
    """
    if not has_key(server):
        return None
    key = Key("Secret", server.metadata.namespace, identity_name(server))
    held = context.world.store.get(key) or await context.kube.get(built_in("Secret").path(key.namespace, key.name))
    return decoded("Secret", held or {}).get(IDENTITY_KEY) or secrets.token_hex(32).encode()


async def _renew_files(context: Context, key: Key, server: McpServer, digest: str | None) -> float | None:
    """Have the kubelet renew the mounted files of running pods at once; seconds until that is to be done again, if so.

    It may take the first call a moment before its watch has the new content, and nothing tells of that: each pod gets two.
    """
    if digest is None:
        context.files.forget(key)
        return None
    running = [pod for pod in context.world.pods(server) if pod.get("status", {}).get("phase") == "Running"]
    done = [pod["metadata"]["name"] for pod in running if annotated_with(pod, meta.ANNOTATION_FILES) == (digest, 1)]
    nudges, again = context.files.nudges(key, digest, running, done)
    await hurry(context, nudges, meta.ANNOTATION_FILES)
    return again


async def _apply(
    context: Context, server: McpServer, desired: list[dict[str, Any]], past: Restarts, restarts: Restarts
) -> tuple[Refused | None, Refused | None]:
    """Apply and prune; why that cannot be done, if so, and why the definitions cannot be kept, without which it serves."""
    try:
        # Where nobody signs for users its Secret is for logs alone.
        soft = ("ConfigMap",) if server.spec.isolation == "user" else ("ConfigMap", "Secret")
        done = await apply_children(context.kube, context.world, server, desired, soft=soft)
    except Refused as refused:
        return refused, None
    if Key("Secret", server.metadata.namespace, identity_name(server)) in done.written:
        for proxy in sorted(
            context.world.proxies_of(Key(server.kind, server.metadata.namespace, server.metadata.name))
        ):
            if wants_logs(context.world.model(proxy)):
                context.enqueue(proxy)
    if (keyless := done.refused.get("Secret")) is not None:
        log.info("proxies cannot ask for the logs of %s: %s", server.id, keyless)
    if restarts.count > past.count:
        context.status.tell_restart(server, restarts.count)
        context.on_restart()
    return None, done.refused.get("ConfigMap")


def _past(server: McpServer, deployment: Object | None) -> Restarts:
    """The restarts so far. One that was ordered is told by the Deployment also where its status was not written.

    Those of another spec do not count: whoever edits it may have mended it. Nor do those before a reset.
    """
    status = server.status
    if server.spec.remote:
        return Restarts()
    known = status.observed_generation == server.metadata.generation and not _is_reset(server)
    count = status.restarts if known else 0
    ordered = _ordered(deployment, server.metadata.uid)
    if ordered is not None and (status.restarted_at is None or ordered > status.restarted_at):
        return Restarts(count + 1, ordered)
    return Restarts(count, status.restarted_at)


def _ordered(deployment: Object | None, owner: str) -> datetime | None:
    """When the Deployment was last told to restart its pods."""
    if deployment is None or not is_controlled_by(deployment, owner):
        return None
    return _time(template_annotations(deployment).get(meta.ANNOTATION_RESTARTED_AT))


def _reset(server: McpServer) -> str:
    """Value of the annotation by which somebody has the count start anew; empty without one."""
    return server.metadata.annotations.get(meta.ANNOTATION_RESET_RESTARTS, "")[:256]


def _is_reset(server: McpServer) -> bool:
    return _reset(server) not in {"", server.status.restarts_reset}


def _restarts(context: Context, key: Key, server: McpServer, past: Restarts, clients: Clients) -> Decision:
    """Whether a restart is due. An edit that is not yet rolled out comes first.

    A server that every proxy reaches is not restarted: something stands between it and the operator alone.
    """
    if server.spec.remote or server.status.observed_generation != server.metadata.generation:
        return Decision(past)
    health = health_view(context.prober.health(key))
    pods = context.world.pods(server)
    probes = server.spec.health
    return decide(
        past,
        deployed=workload_verdict(_deployment(context, server), pods).status == "True",
        healthy=None if health is None or (clients.all_reach_it and not health.healthy) else health.answers,
        limit=probes.max_restarts,
        now=datetime.now(UTC),
        up_since=_up_since(pods),
        patience=max(PAUSE, timedelta(seconds=seconds(probes.interval) * probes.failure_threshold)),
    )


def _up_since(pods: Iterable[Object]) -> datetime | None:
    """When the last of the pods became ready."""
    conditions = (c for pod in pods for c in pod.get("status", {}).get("conditions") or ())
    times = (_time(c.get("lastTransitionTime")) for c in conditions if c.get("type") == "Ready")
    return max((time for time in times if time is not None), default=None)


def _time(text: str | None) -> datetime | None:
    """A time as the API writes it; None for anything else, as people can edit annotations."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.tzinfo else None


def _deployment(context: Context, server: McpServer) -> Object | None:
    return context.world.store.get(Key("Deployment", server.metadata.namespace, child_name(server)))


def _probe(context: Context, key: Key, server: McpServer, resolved: Resolved, *, probed: bool) -> None:
    if probed:
        health = server.spec.health
        target = probe_target(
            cluster_url(server), server, resolved, context.world.pods(server), context.settings.egress
        )
        interval = seconds(health.interval)
        context.prober.watch(
            key,
            target,
            interval,
            health.failure_threshold,
            health.success_threshold,
            latency=_published_latency(server),
        )
    else:
        context.prober.forget(key)


def _published_latency(server: McpServer) -> float | None:
    """Seconds, as the status says of this very spec."""
    probe = server.status.probe
    if probe is None or probe.latency_milliseconds is None:
        return None
    return (
        probe.latency_milliseconds / 1000 if server.status.observed_generation == server.metadata.generation else None
    )
