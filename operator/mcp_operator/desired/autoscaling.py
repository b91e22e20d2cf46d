"""The HorizontalPodAutoscaler of a proxy. Source: Kubernetes API reference, autoscaling/v2."""

from typing import Final

from mcp_operator.api.exposure import Autoscaling
from mcp_operator.api.resources import McpProxy
from mcp_operator.desired.common import Object, metadata
from mcp_operator.desired.names import child_name

DEFAULT_CPU: Final = 80
"""Percent of the requested CPU, where no target is set."""
SESSIONS_METRIC: Final = "mcp_proxy_sessions"


def horizontal_pod_autoscaler(proxy: McpProxy) -> Object | None:
    """None where `spec.autoscaling` is not set.

    It scales the Deployment and not the McpProxy: the number of pods is no business of the user's manifest, and a change of
    it no new generation of the resource.
    """
    wanted = proxy.spec.autoscaling
    if wanted is None:
        return None
    name = child_name(proxy)
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(proxy, name),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": wanted.min_replicas,
            "maxReplicas": wanted.max_replicas,
            "metrics": _metrics(wanted),
        },
    }


def _metrics(wanted: Autoscaling) -> list[Object]:
    cpu, memory, sessions = wanted.target_cpu_utilization, wanted.target_memory_utilization, wanted.target_sessions
    if cpu is None and memory is None and sessions is None:
        cpu = DEFAULT_CPU
    found = [_utilization(name, share) for name, share in (("cpu", cpu), ("memory", memory)) if share is not None]
    if sessions is not None:
        target = {"type": "AverageValue", "averageValue": str(sessions)}
        found.append({"type": "Pods", "pods": {"metric": {"name": SESSIONS_METRIC}, "target": target}})
    return found


def _utilization(resource: str, percent: int) -> Object:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": resource, "target": target}}
