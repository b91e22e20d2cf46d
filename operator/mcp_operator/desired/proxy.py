"""Objects of an McpProxy: ServiceAccount, Secret, ConfigMap, Services and Deployment, and what stands around them."""

import base64
from collections.abc import Mapping, Sequence
from typing import Final

from mcp_operator.api.resources import McpProxy
from mcp_operator.compile import Compiled
from mcp_operator.desired.autoscaling import horizontal_pod_autoscaler
from mcp_operator.desired.common import (
    NON_ROOT_ID,
    Object,
    labels,
    metadata,
    pull_secrets,
    resources,
    restricted,
    selector,
)
from mcp_operator.desired.configuration import config_maps, config_volume
from mcp_operator.desired.disruption import pod_disruption_budget
from mcp_operator.desired.httproute import http_route
from mcp_operator.desired.ingress import ingress
from mcp_operator.desired.monitoring import monitor
from mcp_operator.desired.names import (
    INTERNAL_PORT,
    PORT,
    account_name,
    child_name,
    config_name,
    peers_name,
    scheme,
    secret_name,
    service_port,
)
from mcp_operator.desired.network import network_policy
from mcp_operator.desired.podtemplate import merged
from mcp_operator.desired.settings import HostingSettings
from mcp_operator.desired.spread import topology_spread

CONFIG_DIR: Final = "/etc/mcp-proxy"
DRAIN_SECONDS: Final = 5
"""Pause between a pod's leaving the Service and its SIGTERM: connections that were already on their way still arrive."""
LEAVE_SECONDS: Final = 5
"""After SIGTERM, for clients to go elsewhere: every answer says that the connection ends with it."""
GRACE_SECONDS: Final = 25
"""For the calls that are in flight then."""
TLS_FLAG: Final = "--tls"


def proxy_objects(
    proxy: McpProxy,
    compiled: Compiled,
    settings: HostingSettings,
    *,
    retained: Mapping[str, str] | None = None,
    retained_egress: Sequence[Object] = (),
) -> list[Object]:
    """Objects that shall exist for `proxy`, in the order of their writing: secrets before the config that names them.

    `retained` are secret files (base64) that the config before this one names: a pod may start before it sees the new one.
    `retained_egress` are rules of the NetworkPolicy for servers that replicas may still have calls with.
    Raises PodTemplateRefused, ConfigTooLarge.
    """
    found = [
        None if proxy.spec.service_account_name else _service_account(proxy),
        _network_policy(proxy, compiled, settings, retained_egress),
        _secret(proxy, compiled, retained or {}),
        *config_maps(proxy, compiled, config_name(proxy)),
        _service(proxy),
        _peers(proxy),
        _deployment(proxy, settings),
        pod_disruption_budget(proxy),
        horizontal_pod_autoscaler(proxy),
        ingress(proxy, compiled),
        http_route(proxy, compiled),
        monitor(proxy),
    ]
    return [body for body in found if body is not None]


def _network_policy(
    proxy: McpProxy, compiled: Compiled, settings: HostingSettings, retained: Sequence[Object]
) -> Object | None:
    body = network_policy(proxy, compiled, operator_namespace=settings.operator_namespace)
    if body is not None:
        egress = body["spec"]["egress"]
        egress += [rule for rule in retained if rule not in egress]
    return body


def _service_account(proxy: McpProxy) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(proxy, child_name(proxy)),
        "automountServiceAccountToken": False,
    }


def _secret(proxy: McpProxy, compiled: Compiled, retained: Mapping[str, str]) -> Object:
    files = {file: base64.b64encode(value).decode() for file, value in compiled.secrets.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(proxy, secret_name(proxy)),
        "type": "Opaque",
        "data": dict(sorted({**retained, **files}.items())),
    }


def _service(proxy: McpProxy) -> Object:
    spec = proxy.spec.service
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(proxy, child_name(proxy), spec.annotations),
        "spec": {
            "type": spec.type,
            "selector": selector(proxy),
            "ports": [
                {
                    "name": "mcp",
                    "port": service_port(proxy),
                    "targetPort": "mcp",
                    "protocol": "TCP",
                    "appProtocol": scheme(proxy),
                }
            ],
        },
    }


def _peers(proxy: McpProxy) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(proxy, peers_name(proxy)),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": selector(proxy),
            "ports": [{"name": "internal", "port": INTERNAL_PORT, "targetPort": "internal", "protocol": "TCP"}],
        },
    }


def _deployment(proxy: McpProxy, settings: HostingSettings) -> Object:
    pod: Object = {
        "serviceAccountName": account_name(proxy),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": DRAIN_SECONDS + LEAVE_SECONDS + GRACE_SECONDS + 5,
        "securityContext": {"fsGroup": NON_ROOT_ID},
        "containers": [_container(proxy, settings)],
        "volumes": [config_volume(config_name(proxy), secret_name(proxy)), {"name": "tmp", "emptyDir": {}}],
        "topologySpreadConstraints": topology_spread(proxy),
    }
    if secrets := pull_secrets(settings.image_pull_secrets, proxy.spec.image_pull_secrets):
        pod["imagePullSecrets"] = secrets
    user = proxy.spec.pod_template
    generated = {"metadata": {"labels": labels(proxy)}, "spec": pod}
    replicas = {} if proxy.spec.fixed_replicas is None else {"replicas": proxy.spec.fixed_replicas}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(proxy, child_name(proxy)),
        "spec": {
            **replicas,
            "selector": {"matchLabels": selector(proxy)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": merged(generated, user.patch() if user else None),
        },
    }


def _container(proxy: McpProxy, settings: HostingSettings) -> Object:
    return {
        "name": "proxy",
        "image": proxy.spec.image or settings.proxy_image,
        "imagePullPolicy": proxy.spec.image_pull_policy or settings.image_pull_policy,
        "command": ["mcp-operator-proxy", "serve"],
        "args": [
            "--config-dir",
            CONFIG_DIR,
            "--host",
            "0.0.0.0",  # noqa: S104
            "--port",
            str(PORT),
            "--log-level",
            proxy.spec.log_level,
            *([TLS_FLAG] if proxy.spec.tls else []),
        ],
        "env": [
            {"name": "WORKERS", "value": str(proxy.spec.workers)},
            {"name": "MCP_PROXY_LEAVE_SECONDS", "value": str(LEAVE_SECONDS)},
            {"name": "MCP_PROXY_INTERNAL_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "MCP_PROXY_INTERNAL_PORT", "value": str(INTERNAL_PORT)},
            {"name": "MCP_PROXY_PEERS", "value": f"{peers_name(proxy)}.{proxy.metadata.namespace}.svc:{INTERNAL_PORT}"},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "OTEL_RESOURCE_ATTRIBUTES", "value": _resource_attributes(proxy)},
            *_egress(settings, proxy.metadata.namespace),
        ],
        "ports": [
            {"name": "mcp", "containerPort": PORT, "protocol": "TCP"},
            {"name": "internal", "containerPort": INTERNAL_PORT, "protocol": "TCP"},
        ],
        "resources": resources(proxy.spec.resources),
        "securityContext": restricted(),
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG_DIR, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
        "startupProbe": {"httpGet": _get(proxy, "/healthz"), "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {"httpGet": _get(proxy, "/healthz"), "periodSeconds": 10, "timeoutSeconds": 5},
        "readinessProbe": {"httpGet": _get(proxy, "/readyz"), "periodSeconds": 2, "timeoutSeconds": 5},
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}},
    }


def _resource_attributes(proxy: McpProxy) -> str:
    """By which spans tell the replica (OpenTelemetry's semantic conventions of Kubernetes). POD_NAME stands before it."""
    namespace = proxy.metadata.namespace
    return f"service.namespace={namespace},k8s.namespace.name={namespace},k8s.pod.name=$(POD_NAME)"


def _egress(settings: HostingSettings, namespace: str) -> list[Object]:
    if settings.egress is None:
        return []
    return [
        {"name": "MCP_PROXY_EGRESS", "value": "enforce"},
        {"name": "MCP_PROXY_EGRESS_ALLOW", "value": settings.egress.allowed},
        {"name": "MCP_PROXY_CLUSTER_DOMAIN", "value": settings.egress.cluster_domain},
        {"name": "MCP_PROXY_NAMESPACE", "value": namespace},
    ]


def _get(proxy: McpProxy, path: str) -> Object:
    """The kubelet checks no certificate."""
    return {"path": path, "port": "mcp"} | ({"scheme": "HTTPS"} if proxy.spec.tls else {})
