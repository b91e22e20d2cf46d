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
    if "HTTPRoute" in asked and (verdict := _attached(seen.live.get("HTTPRoute") or {})):
        return verdict
    return yes(Type.EXPOSED, Reason.EXPOSED, f"{' and '.join(asked)} lead to it: {url}")


def _attached(route: Body) -> Verdict | None:
    """What the Gateways say against the route; None where all of them take it."""
    parents = (route.get("status") or {}).get("parents") or []
    if not parents:
        return unknown(
            Type.EXPOSED, Reason.WAITING, "no Gateway has taken up the HTTPRoute yet; see spec.httpRoute.parentRefs"
        )
    for parent in parents:
        for condition in parent.get("conditions") or ():
            if condition.get("type") in {"Accepted", "ResolvedRefs"} and condition.get("status") == "False":
                name = (parent.get("parentRef") or {}).get("name", "")
                why = f"{condition.get('reason', '')}: {condition.get('message', '')}"
                return no(Type.EXPOSED, Reason.NOT_ACCEPTED, f"Gateway {name} does not serve the HTTPRoute: {why}")
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
    return yes(Type.MONITORED, Reason.MONITORED, f"there is a {wanted.kind}")
