"""How a proxy's pods spread over zones and nodes."""

from typing import Final

from mcp_operator.api.resources import McpProxy
from mcp_operator.desired.common import Object, selector

TOPOLOGIES: Final = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")


def topology_spread(proxy: McpProxy) -> list[Object]:
    """Evenly where that is possible: a lone node takes them all. Each revision of the pod template counts by itself."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": topology,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(proxy)},
            "matchLabelKeys": ["pod-template-hash"],
        }
        for topology in TOPOLOGIES
    ]
