"""What stands around the pods of an McpProxy: how many there are, who reaches them and whom they reach, and by which name."""

import re
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from mcp_operator.api.common import ApiModel, LabelSelector
from mcp_operator.api.constraints import Rule, keys_matching, literal, matching
from mcp_operator.api.scalars import (
    LABEL_KEY_MESSAGE,
    QUALIFIED_NAME,
    Duration,
    LabelValue,
    NamespaceName,
    ObjectName,
    Port,
    between,
)

Annotations = Annotated[
    dict[Annotated[str, StringConstraints(max_length=317)], Annotated[str, StringConstraints(max_length=4096)]],
    Field(max_length=64),
    keys_matching(QUALIFIED_NAME, f"each key {LABEL_KEY_MESSAGE}"),
]
Labels = Annotated[
    dict[Annotated[str, StringConstraints(max_length=317)], LabelValue],
    Field(max_length=64),
    keys_matching(QUALIFIED_NAME, f"each key {LABEL_KEY_MESSAGE}"),
]
Percent = Annotated[int, Field(strict=True, ge=1, le=1000)]

_AMOUNT: Final = r"^([0-9]|[1-9][0-9]|100)%$"
_AMOUNT_MESSAGE: Final = "must be a number of pods, such as 1, or a share of them, such as 25%"


def _amount(value: object) -> object:
    if isinstance(value, bool) or not (
        (isinstance(value, int) and value >= 0) or (isinstance(value, str) and re.fullmatch(_AMOUNT, value))
    ):
        raise ValueError(_AMOUNT_MESSAGE)
    return value


PodAmount = Annotated[
    int | str,
    WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 4}),
    BeforeValidator(_amount),
    Rule(f"type(self) == int ? self >= 0 : string(self).matches({literal(_AMOUNT)})", _AMOUNT_MESSAGE, lambda _: True),
]
DnsName = Annotated[
    str,
    StringConstraints(max_length=253),
    matching(
        r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "must be a DNS name such as mcp.example.com or *.example.com, in lower case",
    ),
]
Cidr = Annotated[
    str,
    StringConstraints(max_length=43),
    matching(r"^[0-9A-Fa-f:.]+/[0-9]{1,3}$", "must be a block of addresses such as 10.0.0.0/8 or fd00::/8"),
]


class Autoscaling(ApiModel):
    """A HorizontalPodAutoscaler (autoscaling/v2) for the proxy's Deployment."""

    invariants = (
        Rule(
            "self.minReplicas <= self.maxReplicas",
            "minReplicas must not be larger than maxReplicas",
            lambda self: self.min_replicas <= self.max_replicas,
        ),
    )

    min_replicas: Annotated[int, Field(strict=True, ge=1, le=1000)] = 2
    """Pods that there are at least."""
    max_replicas: Annotated[int, Field(strict=True, ge=1, le=1000)] = 10
    """Pods that there are at most."""
    target_cpu_utilization: Annotated[Percent | None, Field(alias="targetCPUUtilization")] = None
    """Average use of CPU in percent of what the pods request. Without any target: 80."""
    target_memory_utilization: Percent | None = None
    """Average use of memory in percent of what the pods request."""
    target_sessions: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = None
    """Average number of open sessions of a pod: the metric `mcp_proxy_sessions` of the custom metrics API."""


class DisruptionBudget(ApiModel):
    """A PodDisruptionBudget; it is made where there may be more than one replica."""

    enabled: bool = True
    """Whether to make one."""
    max_unavailable: PodAmount = 1
    """Pods, or percent of them, that may be evicted at one time."""


class IpBlock(ApiModel):
    """A block of addresses outside of the cluster."""

    cidr: Cidr
    """The block."""
    excluded: Annotated[tuple[Cidr, ...], Field(max_length=16, alias="except")] = ()
    """Blocks within it that are not meant."""


class NetworkPeer(ApiModel):
    """Pods, or addresses, as the peer of a NetworkPolicy."""

    invariants = (
        Rule(
            "has(self.ipBlock) != (has(self.podSelector) || has(self.namespaceSelector))",
            "needs either ipBlock, or podSelector, namespaceSelector or both",
            lambda self: (
                (self.ip_block is not None) != (self.pod_selector is not None or self.namespace_selector is not None)
            ),
        ),
    )

    pod_selector: LabelSelector | None = None
    """Labels of the pods; unset: all of the namespaces."""
    namespace_selector: LabelSelector | None = None
    """Labels of their namespaces; unset: the proxy's own."""
    ip_block: IpBlock | None = None
    """Addresses instead of pods."""


class NetworkDestination(NetworkPeer):
    """Somewhere that the proxy may reach beside its servers."""

    ports: Annotated[tuple[Port, ...], Field(max_length=16)] = ()
    """TCP ports there; empty: all."""


class NetworkPolicy(ApiModel):
    """A NetworkPolicy for the proxy's pods: in, what is exposed; out, DNS and the servers that the proxy routes."""

    enabled: bool = True
    """Whether to make one."""
    allow_from: Annotated[tuple[NetworkPeer, ...], Field(max_length=16)] = ()
    """Who may reach the MCP port; empty: everybody. The operator always may."""
    allow_to: Annotated[tuple[NetworkDestination, ...], Field(max_length=16)] = ()
    """What the pods may reach beside their servers, such as an egress proxy."""


class Ingress(ApiModel):
    """An Ingress that leads to the paths of the proxy, and to nothing else of it."""

    class_name: ObjectName | None = None
    """Name of the IngressClass; unset: the cluster's default."""
    host: DnsName | None = None
    """Host name; unset: any."""
    tls_secret_name: ObjectName | None = None
    """Secret with the certificate for clients, in the proxy's namespace; unset: plain HTTP."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations of the Ingress."""


class GatewayRef(ApiModel):
    """A Gateway that the route shall be attached to."""

    name: ObjectName
    """Name of the Gateway."""
    namespace: NamespaceName | None = None
    """Its namespace; unset: the proxy's own."""
    section_name: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Name of one of its listeners; unset: all that fit."""
    port: Port | None = None
    """Port of its listeners; unset: all."""


class HttpRoute(ApiModel):
    """An HTTPRoute (Gateway API v1) that leads to the paths of the proxy, and to nothing else of it."""

    parent_refs: Annotated[tuple[GatewayRef, ...], Field(min_length=1, max_length=16)]
    """Gateways to attach to."""
    hostnames: Annotated[tuple[DnsName, ...], Field(max_length=16)] = ()
    """Host names; empty: those of the Gateway's listeners."""
    scheme: Literal["https", "http"] = "https"
    """What the Gateway's listener speaks with clients, as status.url shall say it."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations of the HTTPRoute."""


class ProxyTls(ApiModel):
    """TLS in the proxy's pods."""

    secret_name: ObjectName
    """Secret of type kubernetes.io/tls in the proxy's namespace. A renewed certificate is in use without a restart."""


class Monitoring(ApiModel):
    """A ServiceMonitor or PodMonitor, where the cluster has the Prometheus operator's API."""

    enabled: bool = False
    """Whether to make one."""
    kind: Literal["ServiceMonitor", "PodMonitor"] = "ServiceMonitor"
    """Which of the two."""
    interval: Annotated[Duration, between("1s", "1h")] = "30s"
    """Time between two scrapes."""
    labels: Labels = Field(default_factory=dict)
    """Labels of the monitor, by which a Prometheus selects it."""
