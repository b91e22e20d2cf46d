"""McpProxy: its children, the swap of its configuration, its probe, its status."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from mcp_operator.api import meta
from mcp_operator.api.resources import McpProxy
from mcp_operator.compile import Compiled, with_previous
from mcp_operator.compile.access import OPERATOR_KEY_FILE
from mcp_operator.compile.references import decoded
from mcp_operator.conditions.proxy import ProxyObservation, proxy_status
from mcp_operator.conditions.reasons import Reason
from mcp_operator.conditions.surroundings import Surroundings
from mcp_operator.conditions.verdict import Refusal
from mcp_operator.desired import proxy_objects
from mcp_operator.desired.common import selector
from mcp_operator.desired.configuration import config_text, part_names
from mcp_operator.desired.names import PORT, child_name, cluster_url, config_name, public_url, secret_name
from mcp_operator.desired.podtemplate import PodTemplateRefused
from mcp_operator.desired.proxy import TLS_FLAG
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import Object
from mcp_operator.engine.worker import Result
from mcp_operator.reconcile.children import RETRY_SECONDS, Refused, apply_children
from mcp_operator.reconcile.compilation import compiled_now
from mcp_operator.reconcile.context import Context
from mcp_operator.reconcile.hurry import hurry
from mcp_operator.reconcile.observed import (
    bracketed,
    health_view,
    is_paused,
    notices_view,
    proxy_target,
    replica_view,
    slowest,
)
from mcp_operator.reconcile.swaps import NUDGE_SECONDS
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.configfiles import ConfigTooLarge
from mcp_operator_proxy.secretfiles import secret_files

log = logging.getLogger(__name__)

PROBE_INTERVAL: Final = 30.0
"""Of handshakes through the Service; the pods themselves are asked more often, see `Replicas`."""
PROBE_RETRY: Final = 5.0
PROBE_THRESHOLD: Final = 2
CONDITIONED: Final = ("Ingress", "HTTPRoute", "HorizontalPodAutoscaler", "ServiceMonitor", "PodMonitor")
"""Kinds that have a condition of their own."""
SOFT: Final = ("NetworkPolicy", "PodDisruptionBudget", *CONDITIONED)
"""Kinds without which the proxy still serves: each may fail by itself."""
PHASES: Final = ("Pending", "Running")
MAX_OUTDATED: Final = 256
"""Secret files that are kept for a replica that does not come to an end."""


async def reconcile_proxy(context: Context, key: Key, proxy: McpProxy) -> Result:
    """Give the replicas of `proxy` the configuration that follows from the resources, and tell what they made of it."""
    compiled, held = await _paced(context, key, proxy)
    paused = is_paused(proxy)
    retained, outdated = _retained(context, key, proxy, compiled)
    refused, around = await _apply(context, key, proxy, compiled, retained) if not paused else (None, {})
    pods = context.world.pods(proxy)
    revision = compiled.config.revision
    context.replicas.watch(key, revision, addresses(pods))
    target = proxy_target(proxy, context.settings.egress, compiled.secrets.get(OPERATOR_KEY_FILE))
    context.prober.watch(key, target, PROBE_INTERVAL, PROBE_THRESHOLD, retry=PROBE_RETRY)
    lag = None if paused or refused else await _hurry_pods(context, key, revision, pods)
    states = context.replicas.states(key)
    notices = notices_view(proxy, compiled, states)
    context.noticed.look(key, (server.id for server in compiled.config.servers), states, context.status.tell_notice)
    seen = ProxyObservation(
        compiled=compiled,
        notices=notices.proxy,
        url=public_url(proxy) or cluster_url(proxy),
        cluster_url=cluster_url(proxy),
        selector=",".join(f"{name}={value}" for name, value in selector(proxy).items()),
        around=Surroundings(_live(context, key, proxy), {kind: refused.refusal for kind, refused in around.items()}),
        refused=_refusal(refused, around),
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
        return Result(requeue_after=_soonest(held, RETRY_SECONDS if refused.retry else None))
    if lag is None and any(refused.retry for refused in around.values()):
        lag = RETRY_SECONDS
    return Result(requeue_after=_soonest(held, NUDGE_SECONDS if outdated and not paused else lag))


def _soonest(*seconds: float | None) -> float | None:
    return min((one for one in seconds if one is not None), default=None)


async def _paced(context: Context, key: Key, proxy: McpProxy) -> tuple[Compiled, float | None]:
    """What follows from the resources now, or, in a flood of edits, what followed before and the seconds until the next look."""
    known, generation = context.compiled.get(key), proxy.metadata.generation
    if known is not None and (held := context.pace.wait(key, generation)) > 0:
        return known, held
    compiled = await compiled_now(context, key, proxy)
    if compiled.held is not None:
        compiled = with_previous(proxy, compiled, *_previous(context, key, proxy))
    if known is None or compiled.config.revision != known.config.revision:
        context.pace.changed(key, generation)
        context.sights.outdate(key)
    else:
        context.pace.unchanged(key)
    return compiled, None


def _retained(context: Context, key: Key, proxy: McpProxy, compiled: Compiled) -> tuple[dict[str, str], bool]:
    """Secret files (base64) that are outdated and still kept, and whether the config in the cluster names any of them.

    The kubelet learns of the Secret and of the ConfigMap separately: until every replica is done with the compiled
    revision, a pod may see the config before it, and then finds its files.
    """
    held = (context.world.store.get(Key("Secret", key.namespace, secret_name(proxy))) or {}).get("data") or {}
    outdated = held.keys() - compiled.secrets.keys()
    if not outdated:
        return {}, False
    named = outdated & secret_files(_live_config(context, key, proxy))
    kept = named if _done(context, key, compiled) or len(outdated) > MAX_OUTDATED else outdated
    return {file: held[file] for file in sorted(kept)}, bool(named)


def _live_config(context: Context, key: Key, proxy: McpProxy) -> bytes:
    """The configuration that the cluster holds; nothing while there is no whole one."""
    names = part_names(config_name(proxy))
    live = {name: context.world.store.get(Key("ConfigMap", key.namespace, name)) for name in names}
    return config_text({name: body for name, body in live.items() if body is not None}) or b""


def _previous(context: Context, key: Key, proxy: McpProxy) -> tuple[ProxyConfig | None, dict[str, bytes]]:
    """The configuration that the cluster holds for the proxy, None where there is none that can be read, and its secret files."""
    try:
        known = ProxyConfig.model_validate_json(_live_config(context, key, proxy))
    except ValidationError:
        return None, {}
    secret = context.world.store.get(Key("Secret", key.namespace, secret_name(proxy)))
    return known, decoded("Secret", secret or {})


def _refusal(refused: Refused | None, around: Mapping[str, Refused]) -> Refusal | None:
    """What the proxy's own condition tells of."""
    told = [refused, *(found for kind, found in around.items() if kind not in CONDITIONED)]
    return next((found.refusal for found in told if found is not None), None)


def _done(context: Context, key: Key, compiled: Compiled) -> bool:
    """Whether every replica has taken or refused the compiled revision."""
    states = context.replicas.states(key).values()
    return all(state.asked == compiled.config.revision and state.settled for state in states)


async def _apply(
    context: Context, key: Key, proxy: McpProxy, compiled: Compiled, retained: dict[str, str]
) -> tuple[Refused | None, dict[str, Refused]]:
    """Apply and prune; why that cannot be done, if so, and which kinds could not be made without which it serves."""
    if compiled.held is not None:
        message = f"the configuration stays as it is: {compiled.held.message}"
        return Refused(Refusal(Reason(compiled.held.reason), message), retry=False), {}
    egress = _retained_egress(context, key, proxy, compiled)
    try:
        desired = proxy_objects(proxy, compiled, context.settings, retained=retained, retained_egress=egress)
        done = await apply_children(context.kube, context.world, proxy, desired, soft=SOFT, discovery=context.discovery)
    except PodTemplateRefused as refused:
        return Refused(Refusal(Reason.INVALID_VALUE, str(refused)), retry=False), {}
    except ConfigTooLarge as error:
        message = f"{error}; give the proxy fewer servers and overrides, or divide them between proxies"
        return Refused(Refusal(Reason.CONFIG_TOO_LARGE, message), retry=False), {}
    except Refused as refused:
        return refused, {}
    return None, done.refused


def _retained_egress(context: Context, key: Key, proxy: McpProxy, compiled: Compiled) -> list[dict[str, Any]]:
    """Rules of the NetworkPolicy as it stands: until every replica runs the compiled revision, some may still need them."""
    live = context.world.store.get(Key("NetworkPolicy", key.namespace, child_name(proxy))) or {}
    rules = [*(live.get("spec", {}).get("egress") or ())]
    return [] if _done(context, key, compiled) or len(rules) > MAX_OUTDATED else rules


def _live(context: Context, key: Key, proxy: McpProxy) -> dict[str, Object]:
    """What stands around the pods, as it is."""
    found = {kind: context.world.store.get(Key(kind, key.namespace, child_name(proxy))) for kind in CONDITIONED}
    return {kind: body for kind, body in found.items() if body is not None}


async def _hurry_pods(context: Context, key: Key, revision: str, pods: list[Object]) -> float | None:
    """Annotate the pods that do not run the revision yet; seconds until it is worth looking again."""
    states = context.replicas.states(key)
    done = [name for name, state in states.items() if state.state == "running" or state.refused == revision]
    by_phase = {phase: [pod for pod in pods if pod.get("status", {}).get("phase") == phase] for phase in PHASES}
    unheard = [name for name, state in states.items() if state.state == "unknown"]
    nudges, again = context.swaps.nudges(key, revision, by_phase["Running"], done, unheard)
    nudges += context.swaps.announcements(revision, by_phase["Pending"])
    await hurry(context, nudges, meta.ANNOTATION_REVISION)
    return again


def addresses(pods: list[Object]) -> dict[str, str]:
    """Status URL of every pod that has an address, by its name. While TLS is switched on or off, there are both kinds."""
    return {
        pod["metadata"]["name"]: f"{_scheme(pod)}://{bracketed(pod['status']['podIP'])}:{PORT}"
        for pod in pods
        if pod.get("status", {}).get("podIP") and pod.get("status", {}).get("phase") == "Running"
    }


def _scheme(pod: Object) -> str:
    containers = pod.get("spec", {}).get("containers") or ()
    return "https" if any(TLS_FLAG in (container.get("args") or ()) for container in containers) else "http"
