"""The ServiceMonitor or PodMonitor of a proxy. Source: API reference of the Prometheus operator, monitoring.coreos.com/v1."""

from typing import Final

from mcp_operator.api.resources import McpProxy
from mcp_operator.desired.common import Object, metadata, selector
from mcp_operator.desired.names import child_name, scheme

API_VERSION: Final = "monitoring.coreos.com/v1"
PROXY_LABEL: Final = "mcp_proxy"
"""What a scrape adds to each series of a proxy, also to `up`: the McpProxy's name. Rules and dashboards go by it and `namespace`,
as the labels that tell of a Service or a job differ between the two kinds of monitors."""


def monitor(proxy: McpProxy) -> Object | None:
    """None where `spec.monitoring` is not enabled."""
    wanted = proxy.spec.monitoring
    if not wanted.enabled:
        return None
    endpoint: Object = {
        "port": "mcp",
        "path": "/metrics",
        "interval": wanted.interval,
        "scheme": scheme(proxy),
        "relabelings": [{"action": "replace", "targetLabel": PROXY_LABEL, "replacement": proxy.metadata.name}],
    }
    if proxy.spec.tls:
        # Pods are asked by their address, which stands in no certificate.
        endpoint["tlsConfig"] = {"insecureSkipVerify": True}
    # The headless Service of the peers has the same labels and no such port.
    endpoints = "endpoints" if wanted.kind == "ServiceMonitor" else "podMetricsEndpoints"
    about = metadata(proxy, child_name(proxy))
    return {
        "apiVersion": API_VERSION,
        "kind": wanted.kind,
        "metadata": {**about, "labels": {**wanted.labels, **about["labels"]}},
        "spec": {"selector": {"matchLabels": selector(proxy)}, endpoints: [endpoint]},
    }
