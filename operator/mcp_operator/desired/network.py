"""The NetworkPolicy of a proxy: in, what is exposed; out, what its configuration routes to.

Source: Kubernetes documentation, "Network Policies". A policy is about pods and not about Services: the ports are those of the
pods, and what is said of addresses holds for such as are outside of the cluster.
"""

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from mcp_operator.api import meta
from mcp_operator.api.common import LabelSelector
from mcp_operator.api.exposure import NetworkPeer
from mcp_operator.api.resources import McpProxy
from mcp_operator.compile import Compiled
from mcp_operator.compile.gateway import Place
from mcp_operator.desired.common import Object, metadata, selector
from mcp_operator.desired.names import INTERNAL_PORT, PORT, child_name
from mcp_operator_proxy.config import Server

NAMESPACE_LABEL: Final = "kubernetes.io/metadata.name"
"""Set by the API server on every namespace."""
DNS_PORTS: Final = (53, 5353)
"""The second is that of the pods behind the DNS Service of some distributions."""
CLUSTER_DOMAIN: Final = ("svc", "svc.cluster.local")


def network_policy(proxy: McpProxy, compiled: Compiled, *, operator_namespace: str | None = None) -> Object | None:
    """None where it is switched off. `operator_namespace`: where the operator's pods run, which ask for `/status`."""
    wanted = proxy.spec.network_policy
    if not wanted.enabled:
        return None
    own = [{"podSelector": {"matchLabels": selector(proxy)}}]
    exposed: Object = {"ports": [_port(PORT)]}
    if wanted.allow_from:
        exposed["from"] = [*map(_peer, wanted.allow_from), *_operator(operator_namespace)]
    internal = [_port(INTERNAL_PORT, proxy.spec.workers)]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(proxy, child_name(proxy)),
        "spec": {
            "podSelector": {"matchLabels": selector(proxy)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [exposed, {"from": own, "ports": internal}],
            "egress": [
                {"ports": [_port(port, protocol=protocol) for port in DNS_PORTS for protocol in ("UDP", "TCP")]},
                {"to": own, "ports": internal},
                *_reached(proxy.metadata.namespace, compiled.config.servers, compiled.places),
                *_allowed(proxy),
            ],
        },
    }


def _reached(home: str, servers: Iterable[Server], places: Iterable[Place]) -> Iterator[Object]:
    """Rules for the servers of a configuration and for the places that its services need, in an order of their own so that
    equal sets give equal rules."""
    hosted: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    others = [*places]
    for server in servers:
        if server.url is None or server.url.host is None:
            continue
        host, port = _plain(server.url.host), server.url.port or 443
        namespace, _, name = server.id.partition("/")
        if host == f"{name}-server.{namespace}.svc":
            hosted[namespace, port].add(name)
        else:
            others.append((host, port))
    for (namespace, port), names in sorted(hosted.items()):
        chosen = {"key": meta.LABEL_SERVER, "operator": "In", "values": sorted(names)}
        peer: Object = {"podSelector": {"matchExpressions": [chosen]}}
        if namespace != home:
            peer["namespaceSelector"] = {"matchLabels": {NAMESPACE_LABEL: namespace}}
        yield {"to": [peer], "ports": [_port(port)]}
    yield from _places(home, others)


def _places(home: str, places: Iterable[Place]) -> Iterator[Object]:
    addresses: set[tuple[str, int]] = set()
    namespaces: set[str] = set()
    ports: set[int] = set()
    for host, port in places:
        if (block := _block(_plain(host))) is not None:
            addresses.add((block, port))
        else:
            inside, outside = _where(home, _plain(host))
            namespaces |= inside
            ports |= {port} if outside else set()
    for namespace in sorted(namespaces):
        # A Service's port says nothing of that of its pods.
        yield {"to": [{"namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: namespace}}}]}
    for block, port in sorted(addresses):
        yield {"to": [{"ipBlock": {"cidr": block}}], "ports": [_port(port)]}
    if ports:
        yield {"ports": [_port(port) for port in sorted(ports)]}


def _block(host: str) -> str | None:
    """The block of one address; None for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return f"{address}/{address.max_prefixlen}"


def _plain(host: str) -> str:
    return host.strip("[]").lower().rstrip(".")


def _where(home: str, host: str) -> tuple[set[str], bool]:
    """Namespaces where the Service of that name may be, as the resolver of a pod reads it, and whether it may be outside.

    Without a name it may be anywhere outside.
    `name`, `name.namespace` and `name.namespace.svc` are completed by the search domains of a pod.
    """
    labels = host.split(".")
    if not host:
        return set(), True
    if len(labels) == 1:
        return {home}, False
    for domain in CLUSTER_DOMAIN:
        inner = host.removesuffix(f".{domain}")
        if inner != host and "." in inner:
            return {inner.split(".")[-1]}, False
    return ({labels[1]}, True) if len(labels) == 2 else (set(), True)


def _allowed(proxy: McpProxy) -> Iterator[Object]:
    for destination in proxy.spec.network_policy.allow_to:
        ports = {"ports": [_port(port) for port in destination.ports]} if destination.ports else {}
        yield {"to": [_peer(destination)], **ports}


def _operator(namespace: str | None) -> list[Object]:
    if namespace is None:
        return []
    return [{"namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: namespace}}}]


def _peer(peer: NetworkPeer) -> Object:
    """In the API's shape; an empty selector, which selects everything, stays."""
    body: Object = {}
    if peer.ip_block is not None:
        body["ipBlock"] = {"cidr": peer.ip_block.cidr}
        if peer.ip_block.excluded:
            body["ipBlock"]["except"] = list(peer.ip_block.excluded)
    if peer.pod_selector is not None:
        body["podSelector"] = _selector(peer.pod_selector)
    if peer.namespace_selector is not None:
        body["namespaceSelector"] = _selector(peer.namespace_selector)
    return body


def _selector(wanted: LabelSelector) -> Object:
    dumped = wanted.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return {key: value for key, value in dumped.items() if value}


def _port(port: int, count: int = 1, *, protocol: str = "TCP") -> Object:
    """`count` ports from `port` on."""
    return {"protocol": protocol, "port": port} | ({"endPort": port + count - 1} if count > 1 else {})
