"""The HTTPRoute of a proxy. Source: Gateway API reference, gateway.networking.k8s.io/v1."""

from typing import Final

from mcp_operator.api.resources import McpProxy
from mcp_operator.compile import Compiled
from mcp_operator.desired.common import Object, metadata
from mcp_operator.desired.names import child_name, service_port
from mcp_operator.desired.paths import led_to

API_VERSION: Final = "gateway.networking.k8s.io/v1"
MATCHES: Final = 8
"""Matches of one rule; the first releases of v1 take no more."""
_TYPES: Final = {"Exact": "Exact", "Prefix": "PathPrefix"}


def http_route(proxy: McpProxy, compiled: Compiled) -> Object | None:
    """None where `spec.httpRoute` is not set."""
    wanted = proxy.spec.http_route
    if wanted is None:
        return None
    matches = [{"path": {"type": _TYPES[kind], "value": path}} for kind, path in led_to(compiled.config)]
    backends = [{"name": child_name(proxy), "port": service_port(proxy)}]
    spec: Object = {
        "parentRefs": [ref.model_dump(mode="json", by_alias=True, exclude_none=True) for ref in wanted.parent_refs],
        "rules": [
            {"matches": matches[start : start + MATCHES], "backendRefs": backends}
            for start in range(0, len(matches), MATCHES)
        ],
    }
    if wanted.hostnames:
        spec["hostnames"] = list(wanted.hostnames)
    return {
        "apiVersion": API_VERSION,
        "kind": "HTTPRoute",
        "metadata": metadata(proxy, child_name(proxy), wanted.annotations),
        "spec": spec,
    }
