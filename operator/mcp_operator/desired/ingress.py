"""The Ingress of a proxy. Source: Kubernetes API reference, networking.k8s.io/v1."""

from mcp_operator.api.resources import McpProxy
from mcp_operator.compile import Compiled
from mcp_operator.desired.common import Object, metadata
from mcp_operator.desired.names import child_name, service_port
from mcp_operator.desired.paths import led_to


def ingress(proxy: McpProxy, compiled: Compiled) -> Object | None:
    """None where `spec.ingress` is not set."""
    wanted = proxy.spec.ingress
    if wanted is None:
        return None
    backend = {"service": {"name": child_name(proxy), "port": {"number": service_port(proxy)}}}
    paths = [{"path": path, "pathType": kind, "backend": backend} for kind, path in led_to(compiled.config)]
    host = {"host": wanted.host} if wanted.host else {}
    spec: Object = {"rules": [{**host, "http": {"paths": paths}}]}
    if wanted.class_name:
        spec["ingressClassName"] = wanted.class_name
    if wanted.tls_secret_name:
        hosts = {"hosts": [wanted.host]} if wanted.host else {}
        spec["tls"] = [{**hosts, "secretName": wanted.tls_secret_name}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(proxy, child_name(proxy), wanted.annotations),
        "spec": spec,
    }
