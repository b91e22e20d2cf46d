"""The canary of a server: through which proxies, at which paths and by which names it is called, and what came of it."""

from collections.abc import Mapping
from dataclasses import replace

from mcp_operator.api.common import seconds
from mcp_operator.api.resources import McpProxy, McpServer
from mcp_operator.api.server import Canary
from mcp_operator.compile.access import OPERATOR_KEY_FILE
from mcp_operator.compile.lookup import DataObjects
from mcp_operator.conditions.canary import CanaryObservation, CanaryPath
from mcp_operator.conditions.reasons import Type
from mcp_operator.engine.keys import Key
from mcp_operator.probe.canaries import CanaryState
from mcp_operator.probe.canary import CanaryCall
from mcp_operator.probe.expectation import Expectation
from mcp_operator.reconcile.context import Context
from mcp_operator.reconcile.observed import proxy_target
from mcp_operator.reconcile.showing import Shown
from mcp_operator_proxy.egress import Egress


def call_canary(
    context: Context, key: Key, server: McpServer, objects: DataObjects, *, called: bool
) -> CanaryObservation | None:
    """Have the canary of `server` called through every proxy that shows its tool; what came of it so far, if it has one.

    `objects` are what the server refers to: no value of a Secret among them comes out of a failed call.
    """
    canary = server.spec.canary
    context.note_canary(key, canary.tool if canary and called else None)
    if canary is None or not called:
        return None if canary is None else CanaryObservation(tool=canary.tool, held=True)
    plans = {proxy: showing.plan(server.id, canary.tool) for proxy, showing in context.showing.items()}
    shown = {proxy: plan.shown for proxy, plan in plans.items() if plan.shown is not None}
    calls = _calls(context, canary, shown, secret_values(objects))
    health = server.spec.health
    context.canaries.watch(
        key,
        {_id(proxy): call for proxy, call in calls.items()},
        seconds(canary.interval),
        health.failure_threshold,
        health.success_threshold,
    )
    if _is_back(context, key, server):
        context.canaries.trigger(key)
    waiting = any(plan.waiting for plan in plans.values()) or not context.knows_proxies_of(key)
    return _observed(
        canary.tool, {proxy: shown[proxy] for proxy in calls}, context.canaries.states(key), waiting=waiting
    )


def _is_back(context: Context, key: Key, server: McpServer) -> bool:
    """The server answers again, the proxies' replicas too, and its status does not say so yet."""
    health = context.prober.health(key)
    if health is None or not health.healthy or health.error or context.clients_of(server).unreached:
        return False
    return any(c.type == Type.HEALTHY and c.status == "False" for c in server.status.conditions)


def _calls(
    context: Context, canary: Canary, shown: Mapping[Key, Shown], secrets: tuple[str, ...]
) -> dict[Key, CanaryCall]:
    """A call for each proxy that can be read."""
    proxies = {key: context.world.model(key) for key in shown}
    return {
        key: canary_call(canary, proxy, shown[key], secrets, context.settings.egress, _own_key(context, key))
        for key, proxy in sorted(proxies.items())
        if isinstance(proxy, McpProxy)
    }


def _own_key(context: Context, proxy: Key) -> bytes | None:
    """With what the operator calls a proxy that authenticates its callers."""
    compiled = context.compiled.get(proxy)
    return compiled.secrets.get(OPERATOR_KEY_FILE) if compiled else None


def canary_call(  # noqa: PLR0917
    canary: Canary,
    proxy: McpProxy,
    shown: Shown,
    secrets: tuple[str, ...],
    egress: Egress | None = None,
    operator_key: bytes | None = None,
) -> CanaryCall:
    """The call as a client of `proxy` would make it, through its Service."""
    own_path = proxy_target(proxy, egress, operator_key)
    url = own_path.url.removesuffix(proxy.spec.path) + shown.path
    return CanaryCall(
        target=replace(own_path, url=url, timeout=seconds(canary.timeout)),
        tool=shown.name,
        arguments=canary.arguments,
        expect=Expectation(
            contains=canary.expect.contains, matches=canary.expect.matches, structured=canary.expect.structured
        ),
        secrets=secrets,
    )


def secret_values(objects: DataObjects) -> tuple[str, ...]:
    """Every value of the Secrets among `objects`, as text."""
    values = {
        value.decode(errors="replace").strip()
        for (kind, _, _), found in objects.items()
        if kind == "Secret"
        for value in found.data.values()
    }
    return tuple(sorted(values - {""}))


def _observed(
    tool: str, shown: Mapping[Key, Shown], states: Mapping[str, CanaryState], *, waiting: bool
) -> CanaryObservation:
    paths = []
    for proxy, place in sorted(shown.items()):
        state = states.get(_id(proxy)) or CanaryState()
        paths.append(CanaryPath(_id(proxy), place.path, place.name, state.passing, state.outcome, state.message))
    return CanaryObservation(tool=tool, paths=paths, waiting=waiting)


def _id(proxy: Key) -> str:
    """`namespace/name`."""
    return f"{proxy.namespace}/{proxy.name}"
