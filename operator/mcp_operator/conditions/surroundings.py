"""Conditions of what stands around a proxy's pods: the ways in, the autoscaler, the monitor. Only of what the spec asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp_operator.api.resources import McpProxy
from mcp_operator.conditions.reasons import Reason, Type
from mcp_operator.conditions.verdict import Refusal, Verdict, no, unknown, yes

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The objects as they are, and those that could not be made, by kind."""

    live: Mapping[str, Body] = field(default_factory=dict)
    refused: Mapping[str, Refusal] = field(default_factory=dict)


def exposed(proxy: McpProxy, seen: Surroundings, url: str) -> Verdict | None:
    """Whether there is the way in that the spec asks for."""
    asked = [kind for kind, of in (("Ingress", proxy.spec.ingress), ("HTTPRoute", proxy.spec.http_route)) if of]
    if not asked:
        return None
    if refusal := next((seen.refused[kind] for kind in asked if kind in seen.refused), None):
        return no(Type.EXPOSED, refusal.reason, refusal.message)
    if missing := next((kind for kind in asked if kind not in seen.live), None):
        return unknown(Type.EXPOSED, Reason.WAITING, f"the {missing} has not been made yet")
    if "HTTPRoute" in asked and (verdict := _attached(proxy, seen.live["HTTPRoute"])):
        return verdict
    return yes(
        Type.EXPOSED, Reason.EXPOSED, f"{' and '.join(asked)} {'leads' if len(asked) == 1 else 'lead'} to it: {url}"
    )


def _attached(proxy: McpProxy, route: Body) -> Verdict | None:
    """What the Gateways say against the route, or whom nobody has spoken for; None where all of them take it.

    What they said of an older version of the route does not count (Gateway API, RouteParentStatus).
    """
    generation = (route.get("metadata") or {}).get("generation", 0)
    told: set[tuple[str, str]] = set()
    for parent in (route.get("status") or {}).get("parents") or ():
        fresh = [c for c in parent.get("conditions") or () if c.get("observedGeneration", generation) >= generation]
        ref = parent.get("parentRef") or {}
        for condition in fresh:
            if condition.get("type") in {"Accepted", "ResolvedRefs"} and condition.get("status") == "False":
                why = f"{condition.get('reason', '')}: {condition.get('message', '')}"
                message = f"Gateway {ref.get('name', '')} does not serve the HTTPRoute: {why}"
                return no(Type.EXPOSED, Reason.NOT_ACCEPTED, message)
        if fresh:
            told.add((ref.get("namespace") or proxy.metadata.namespace, ref.get("name", "")))
    wanted = proxy.spec.http_route.parent_refs if proxy.spec.http_route else ()
    for gateway in wanted:
        if (gateway.namespace or proxy.metadata.namespace, gateway.name) not in told:
            message = f"Gateway {gateway.name} has not taken up the HTTPRoute yet; see spec.httpRoute.parentRefs"
            return unknown(Type.EXPOSED, Reason.WAITING, message)
    return None


def autoscaled(proxy: McpProxy, seen: Surroundings) -> Verdict | None:
    """Whether the autoscaler can do its work, in its own words (autoscaling/v2, HorizontalPodAutoscalerCondition)."""
    wanted = proxy.spec.autoscaling
    if wanted is None:
        return None
    kind = "HorizontalPodAutoscaler"
    if refusal := seen.refused.get(kind):
        return no(Type.AUTOSCALED, refusal.reason, refusal.message)
    told = ((seen.live.get(kind) or {}).get("status") or {}).get("conditions") or []
    for condition in told:
        if condition.get("type") in {"AbleToScale", "ScalingActive"} and condition.get("status") == "False":
            why = f"{condition.get('reason', '')}: {condition.get('message', '')}"
            return no(Type.AUTOSCALED, Reason.AUTOSCALER_INACTIVE, why)
    if not any(condition.get("type") == "ScalingActive" for condition in told):
        return unknown(Type.AUTOSCALED, Reason.WAITING, "the autoscaler has not looked at the Deployment yet")
    between = f"from {wanted.min_replicas} to {wanted.max_replicas} pods"
    return yes(Type.AUTOSCALED, Reason.AUTOSCALED, f"the autoscaler chooses {between}")


def monitored(proxy: McpProxy, seen: Surroundings) -> Verdict | None:
    """Whether there is a monitor."""
    wanted = proxy.spec.monitoring
    if not wanted.enabled:
        return None
    if refusal := seen.refused.get(wanted.kind):
        return no(Type.MONITORED, refusal.reason, refusal.message)
    if wanted.kind not in seen.live:
        return unknown(Type.MONITORED, Reason.WAITING, f"the {wanted.kind} has not been made yet")
    return yes(Type.MONITORED, Reason.MONITORED, f"there is a {wanted.kind}")
