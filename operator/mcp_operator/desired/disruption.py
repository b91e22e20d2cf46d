"""The PodDisruptionBudget of a proxy. Source: Kubernetes API reference, policy/v1."""

from mcp_operator.api.resources import McpProxy
from mcp_operator.desired.common import Object, metadata, selector
from mcp_operator.desired.names import child_name


def pod_disruption_budget(proxy: McpProxy) -> Object | None:
    """None where it is switched off, or where one replica is all that there will be: a budget could only block its eviction."""
    wanted = proxy.spec.pod_disruption_budget
    scaling = proxy.spec.autoscaling
    most = scaling.max_replicas if scaling else proxy.spec.replicas or 1
    if not wanted.enabled or most < 2:
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(proxy, child_name(proxy)),
        "spec": {
            "maxUnavailable": wanted.max_unavailable,
            "selector": {"matchLabels": selector(proxy)},
            # Pods that are broken anyway must not keep a node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
