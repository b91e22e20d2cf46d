"""McpProxy: its five children, the swap of its configuration, its probe, its status."""

import logging
import secrets
from datetime import UTC, datetime
from typing import Final

from mcp_operator.api import meta
from mcp_operator.api.resources import McpProxy
from mcp_operator.compile import Compiled, compile_proxy
from mcp_operator.compile.consent import allows
from mcp_operator.compile.proxy import SESSION_KEY_FILE
from mcp_operator.compile.references import decoded
from mcp_operator.compile.selection import namespaces_of
from mcp_operator.compile.servers import cluster_url
from mcp_operator.conditions.proxy import ProxyObservation, proxy_status
from mcp_operator.desired import proxy_objects
from mcp_operator.desired.proxy import PORT, child_name, config_name, proxy_url, secret_name
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import Object
from mcp_operator.engine.worker import Result
from mcp_operator.kube.paths import built_in
from mcp_operator.reconcile.children import RETRY_SECONDS, Refused, apply_children
from mcp_operator.reconcile.context import Context
from mcp_operator.reconcile.hurry import hurry
from mcp_operator.reconcile.observed import (
    health_view,
    is_paused,
    notices_view,
    proxy_target,
    replica_view,
    slowest,
)
from mcp_operator.reconcile.swaps import NUDGE_SECONDS
from mcp_operator_proxy.config import CONFIG_FILE
from mcp_operator_proxy.swap.read import secret_files

log = logging.getLogger(__name__)

PROBE_INTERVAL: Final = 10.0
PROBE_THRESHOLD: Final = 2
MAX_OUTDATED: Final = 256
"""Secret files that are kept for a replica that does not come to an end."""


async def reconcile_proxy(context: Context, key: Key, proxy: McpProxy) -> Result:
    """Give the replicas of `proxy` the configuration that follows from the resources, and tell what they made of it."""
    compiled = await _compile(context, proxy)
    paused = is_paused(proxy)
    retained, outdated = _retained(context, key, proxy, compiled)
    refused = None if paused else await _apply(context, proxy, compiled, retained)
    pods = context.world.pods(proxy)
    revision = compiled.config.revision
    context.replicas.watch(key, revision, _addresses(pods))
    context.prober.watch(key, proxy_target(proxy), PROBE_INTERVAL, PROBE_THRESHOLD)
    lag = None if paused or refused else await _hurry_pods(context, key, revision, pods)
    states = context.replicas.states(key)
    notices = notices_view(proxy, compiled, states)
    seen = ProxyObservation(
        compiled=compiled,
        notices=notices.proxy,
        url=proxy_url(proxy),
        refused=refused.refusal if refused else None,
        paused=paused,
        deployment=context.world.store.get(Key("Deployment", key.namespace, child_name(proxy))),
        pods=pods,
        replicas=replica_view(states),
        swap_seconds=slowest(states),
        health=health_view(context.prober.health(key)),
    )
    status = proxy_status(proxy, seen, datetime.now(UTC))
    written = await context.status.write(proxy, status)
    context.note_compiled(key, compiled, states, notices, again=written)
    if status.programmed_revision != proxy.status.programmed_revision and status.swap_seconds is not None:
        context.on_swap(status.swap_seconds)
        done = {"revision": status.programmed_revision, "seconds": status.swap_seconds}
        log.info("every replica runs the configuration", extra=done)
    if refused:
        return Result(requeue_after=RETRY_SECONDS if refused.retry else None)
    return Result(requeue_after=NUDGE_SECONDS if outdated and not paused else lag)


async def _compile(context: Context, proxy: McpProxy) -> Compiled:
    namespace = proxy.metadata.namespace
    routes = context.world.routes(namespace)
    labels = context.world.namespace_labels(namespace)
    servers = [
        server
        for where in sorted(namespaces_of(proxy, routes))
        for server in context.world.servers(where)
        if allows(server, namespace, labels)
    ]
    return compile_proxy(
        proxy,
        routes=routes,
        servers=servers,
        namespace_labels=labels,
        objects=await context.world.data(servers),
        url_of=cluster_url,
        session_key=await _session_key(context, proxy),
    )


async def _session_key(context: Context, proxy: McpProxy) -> bytes:
    """The key of session ids as the proxy's Secret holds it; a new one where there is none.

    What the store lacks is asked for: a second key would end the sessions of the first.
    """
    key = Key("Secret", proxy.metadata.namespace, secret_name(proxy))
    held = context.world.store.get(key) or await context.kube.get(built_in("Secret").path(key.namespace, key.name))
    known = decoded("Secret", held or {}).get(SESSION_KEY_FILE)
    return known or secrets.token_hex(32).encode()


def _retained(context: Context, key: Key, proxy: McpProxy, compiled: Compiled) -> tuple[dict[str, str], bool]:
    """Secret files (base64) that are outdated and still kept, and whether the config in the cluster names any of them.

    The kubelet learns of the Secret and of the ConfigMap separately: until every replica is done with the compiled
    revision, a pod may see the config before it, and then finds its files.
    """
    store = context.world.store
    config = store.get(Key("ConfigMap", key.namespace, config_name(proxy))) or {}
    held = (store.get(Key("Secret", key.namespace, secret_name(proxy))) or {}).get("data") or {}
    outdated = held.keys() - compiled.secrets.keys()
    named = outdated & secret_files((config.get("data") or {}).get(CONFIG_FILE, "").encode())
    states = context.replicas.states(key).values()
    done = all(state.asked == compiled.config.revision and state.settled for state in states)
    kept = named if done or len(outdated) > MAX_OUTDATED else outdated
    return {file: held[file] for file in sorted(kept)}, bool(named)


async def _apply(context: Context, proxy: McpProxy, compiled: Compiled, retained: dict[str, str]) -> Refused | None:
    """Apply and prune; why that cannot be done, if so."""
    desired = proxy_objects(proxy, compiled, context.settings, retained=retained)
    try:
        await apply_children(context.kube, context.world, proxy, desired)
    except Refused as refused:
        return refused
    return None


async def _hurry_pods(context: Context, key: Key, revision: str, pods: list[Object]) -> float | None:
    """Annotate the pods that do not run the revision yet; seconds until it is worth looking again."""
    states = context.replicas.states(key)
    done = [name for name, state in states.items() if state.state == "running" or state.refused == revision]
    running = [pod for pod in pods if pod.get("status", {}).get("phase") == "Running"]
    nudges, again = context.swaps.nudges(key, revision, running, done)
    await hurry(context, nudges, meta.ANNOTATION_REVISION)
    return again


def _addresses(pods: list[Object]) -> dict[str, str]:
    """Status URL of every pod that has an address, by its name."""
    return {
        pod["metadata"]["name"]: f"http://{_bracketed(pod['status']['podIP'])}:{PORT}"
        for pod in pods
        if pod.get("status", {}).get("podIP") and pod.get("status", {}).get("phase") == "Running"
    }


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
