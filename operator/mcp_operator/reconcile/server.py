"""McpServer: its Deployment and Service if it is hosted, its probe, its status."""

from datetime import UTC, datetime

from mcp_operator.api.common import seconds
from mcp_operator.api.resources import McpServer
from mcp_operator.compile.references import Resolved, resolve
from mcp_operator.compile.servers import child_name, cluster_url, unsupported
from mcp_operator.conditions.server import ServerObservation, server_status
from mcp_operator.conditions.workload import workload_verdict
from mcp_operator.desired import server_objects
from mcp_operator.desired.restarts import Decision, Restarts, decide
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import Object
from mcp_operator.engine.worker import Result
from mcp_operator.kube.errors import Invalid
from mcp_operator.reconcile.children import apply_children
from mcp_operator.reconcile.context import Context
from mcp_operator.reconcile.observed import health_view, is_paused, probe_target


async def reconcile_server(context: Context, key: Key, server: McpServer) -> Result:
    """Make the cluster run what `server` says, have it probed, and tell the truth in its status."""
    objects = await context.world.data([server])
    resolved = resolve(server, objects)
    problem = unsupported(server)
    decision = _restarts(context, key, server)
    refused = None
    if problem is None and not is_paused(server):
        refused = await _apply(context, server, decision.restarts)
    _probe(context, key, server, resolved, probed=problem is None and not resolved.problems)
    seen = ServerObservation(
        unsupported=problem,
        unresolved=resolved.problems,
        refused=refused,
        deployment=_deployment(context, server),
        pods=context.world.pods(server),
        health=health_view(context.prober.health(key)),
        restarts=decision.restarts.count,
        restarted_at=decision.restarts.last,
    )
    await context.status.write(server, server_status(server, seen, datetime.now(UTC)))
    return Result(requeue_after=decision.again_after)


async def _apply(context: Context, server: McpServer, restarts: Restarts) -> str | None:
    """Apply and prune; the API server's word when it finds a child invalid."""
    desired = server_objects(server, context.settings, restarted_at=restarts.last)
    if restarts.last != server.status.restarted_at:
        context.status.tell_restart(server, restarts.count)
    try:
        await apply_children(context.kube, context.world, server, desired)
    except Invalid as error:
        return str(error)
    return None


def _restarts(context: Context, key: Key, server: McpServer) -> Decision:
    past = Restarts(server.status.restarts, server.status.restarted_at)
    if server.spec.remote:
        return Decision(Restarts())
    health = health_view(context.prober.health(key))
    verdict = workload_verdict(_deployment(context, server), context.world.pods(server))
    return decide(
        past,
        deployed=verdict.status == "True",
        healthy=health.healthy if health else None,
        limit=server.spec.health.max_restarts,
        now=datetime.now(UTC),
    )


def _deployment(context: Context, server: McpServer) -> Object | None:
    return context.world.store.get(Key("Deployment", server.metadata.namespace, child_name(server)))


def _probe(context: Context, key: Key, server: McpServer, resolved: Resolved, *, probed: bool) -> None:
    if probed:
        health = server.spec.health
        target = probe_target(cluster_url(server), server, resolved)
        context.prober.watch(key, target, seconds(health.interval), health.failure_threshold)
    else:
        context.prober.forget(key)
