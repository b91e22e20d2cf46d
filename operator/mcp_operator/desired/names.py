"""Names, ports and addresses of a proxy's objects."""

from typing import Final

from mcp_operator.api.resources import McpProxy

PORT: Final = 8080
INTERNAL_PORT: Final = 8081
"""Of the first worker, the others follow: where workers and replicas hand sessions to each other."""


def child_name(proxy: McpProxy) -> str:
    """Name of the proxy's Deployment and Service, and of what stands around them."""
    return f"{proxy.metadata.name}-proxy"


def config_name(proxy: McpProxy) -> str:
    return f"{proxy.metadata.name}-proxy-config"


def secret_name(proxy: McpProxy) -> str:
    return f"{proxy.metadata.name}-proxy-secrets"


def peers_name(proxy: McpProxy) -> str:
    """Name of the headless Service by which the replicas find each other."""
    return f"{proxy.metadata.name}-peers"


def account_name(proxy: McpProxy) -> str:
    """Name of the pods' ServiceAccount: the user's, or one of the proxy's own."""
    return proxy.spec.service_account_name or child_name(proxy)


def scheme(proxy: McpProxy) -> str:
    """What the pods and the Service speak."""
    return "https" if proxy.spec.tls else "http"


def service_port(proxy: McpProxy) -> int:
    return proxy.spec.service.port or (443 if proxy.spec.tls else 80)


def cluster_url(proxy: McpProxy) -> str:
    """Where clients in the cluster reach the proxy's own path: through its Service."""
    host = f"{child_name(proxy)}.{proxy.metadata.namespace}.svc"
    return _url(scheme(proxy), host, service_port(proxy), proxy.spec.path)


def public_url(proxy: McpProxy) -> str | None:
    """Where clients reach it by its Ingress or, without one, by its HTTPRoute; None where neither names a host."""
    if (ingress := proxy.spec.ingress) and ingress.host and not ingress.host.startswith("*."):
        return f"{'https' if ingress.tls_secret_name else 'http'}://{ingress.host}{proxy.spec.path}"
    if (route := proxy.spec.http_route) and (hosts := [host for host in route.hostnames if not host.startswith("*.")]):
        port = next((ref.port for ref in route.parent_refs if ref.port), 443 if route.scheme == "https" else 80)
        return _url(route.scheme, hosts[0], port, proxy.spec.path)
    return None


def _url(scheme: str, host: str, port: int, path: str) -> str:
    shown = "" if (scheme, port) in {("http", 80), ("https", 443)} else f":{port}"
    return f"{scheme}://{host}{shown}{path}"
