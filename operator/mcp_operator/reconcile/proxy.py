"""McpProxy: its five children, the swap of its configuration, its probe, its status."""

import asyncio
from datetime import UTC, datetime
from typing import Final

from mcp_operator.api import meta
from mcp_operator.api.resources import McpProxy
from mcp_operator.compile import Compiled, compile_proxy
from mcp_operator.compile.servers import cluster_url
from mcp_operator.conditions.proxy import ProxyObservation, proxy_status
from mcp_operator.desired import proxy_objects
from mcp_operator.desired.proxy import PORT, proxy_url
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import Object
from mcp_operator.engine.worker import Result
from mcp_operator.kube.errors import Invalid, NotFound
from mcp_operator.kube.paths import path_of
from mcp_operator.reconcile.children import apply_children
from mcp_operator.reconcile.context import Context
from mcp_operator.reconcile.observed import health_view, is_paused, proxy_target, replica_view, slowest
from mcp_operator.reconcile.swaps import NUDGE_SECONDS, Nudge

PROBE_INTERVAL: Final = 10.0
PROBE_THRESHOLD: Final = 2


async def reconcile_proxy(context: Context, key: Key, proxy: McpProxy) -> Result:
    """Give the replicas of `proxy` the configuration that follows from the resources, and tell what they made of it."""
    compiled = await _compile(context, proxy)
    paused = is_paused(proxy)
    refused = None if paused else await _apply(context, proxy, compiled)
    pods = context.world.pods(proxy)
    revision = compiled.config.revision
    context.replicas.watch(key, revision, _addresses(pods))
    context.prober.watch(key, proxy_target(proxy), PROBE_INTERVAL, PROBE_THRESHOLD)
    lag = None if paused else await _hurry_pods(context, key, revision, pods)
    context.note_compiled(key, compiled)
    states = context.replicas.states(key)
    seen = ProxyObservation(
        compiled=compiled,
        url=proxy_url(proxy),
        refused=refused,
        paused=paused,
        pods=pods,
        replicas=replica_view(states),
        swap_seconds=slowest(states),
        health=health_view(context.prober.health(key)),
    )
    status = proxy_status(proxy, seen, datetime.now(UTC))
    if await context.status.write(proxy, status):
        context.tell_routes(compiled)
        if status.programmed_revision != proxy.status.programmed_revision and status.swap_seconds is not None:
            context.on_swap(status.swap_seconds)
    return Result(requeue_after=lag)


async def _compile(context: Context, proxy: McpProxy) -> Compiled:
    namespace = proxy.metadata.namespace
    servers = context.world.servers(namespace)
    return compile_proxy(
        proxy,
        routes=context.world.routes(namespace),
        servers=servers,
        objects=await context.world.data(servers),
        url_of=cluster_url,
    )


async def _apply(context: Context, proxy: McpProxy, compiled: Compiled) -> str | None:
    """Apply and prune; the API server's word when it finds a child invalid."""
    desired = proxy_objects(proxy, compiled, context.settings)
    try:
        await apply_children(context.kube, context.world, proxy, desired)
    except Invalid as error:
        return str(error)
    return None


async def _hurry_pods(context: Context, key: Key, revision: str, pods: list[Object]) -> float | None:
    """Annotate the pods that do not run the revision yet; seconds until it is worth looking again, None when all do."""
    states = context.replicas.states(key)
    done = [name for name, state in states.items() if state.asked == revision and state.settled]
    running = [pod for pod in pods if pod.get("status", {}).get("phase") == "Running"]
    nudges = context.swaps.nudges(revision, running, done)
    await asyncio.gather(*(_annotate(context, nudge) for nudge in nudges))
    return NUDGE_SECONDS if len(done) < len(running) else None


async def _annotate(context: Context, nudge: Nudge) -> None:
    body = {"metadata": {"annotations": {meta.ANNOTATION_REVISION: nudge.value}}}
    try:
        patched = await context.kube.merge_patch(path_of(nudge.pod), body, field_manager=meta.FIELD_MANAGER)
    except NotFound:
        return
    context.world.store.observe("Pod", patched)


def _addresses(pods: list[Object]) -> dict[str, str]:
    """Status URL of every pod that has an address, by its name."""
    return {
        pod["metadata"]["name"]: f"http://{_bracketed(pod['status']['podIP'])}:{PORT}"
        for pod in pods
        if pod.get("status", {}).get("podIP") and pod.get("status", {}).get("phase") == "Running"
    }


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
