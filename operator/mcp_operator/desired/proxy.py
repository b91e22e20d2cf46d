"""Objects of an McpProxy: ServiceAccount, Secret, ConfigMap, Service and Deployment."""

import base64
from collections.abc import Mapping
from typing import Final

from mcp_operator.api import meta
from mcp_operator.api.resources import McpProxy
from mcp_operator.compile import Compiled
from mcp_operator.compile.proxy import to_json
from mcp_operator.desired.common import NON_ROOT_ID, Object, labels, metadata, resources, restricted, selector
from mcp_operator.desired.settings import HostingSettings
from mcp_operator_proxy.config import CONFIG_FILE

PORT: Final = 8080
INTERNAL_PORT: Final = 8081
"""Of the first worker, the others follow: where workers and replicas hand sessions to each other."""
CONFIG_DIR: Final = "/etc/mcp-proxy"
DRAIN_SECONDS: Final = 5
"""Pause between a pod's leaving the Service and its SIGTERM: connections that were already on their way still arrive."""


def child_name(proxy: McpProxy) -> str:
    """Name of the proxy's Deployment, Service and ServiceAccount."""
    return f"{proxy.metadata.name}-proxy"


def config_name(proxy: McpProxy) -> str:
    return f"{proxy.metadata.name}-proxy-config"


def secret_name(proxy: McpProxy) -> str:
    return f"{proxy.metadata.name}-proxy-secrets"


def peers_name(proxy: McpProxy) -> str:
    """Name of the headless Service by which the replicas find each other."""
    return f"{proxy.metadata.name}-peers"


def proxy_url(proxy: McpProxy) -> str:
    """Where clients in the cluster reach the proxy's own path."""
    port = "" if proxy.spec.service.port == 80 else f":{proxy.spec.service.port}"
    return f"http://{child_name(proxy)}.{proxy.metadata.namespace}.svc{port}{proxy.spec.path}"


def proxy_objects(
    proxy: McpProxy, compiled: Compiled, settings: HostingSettings, *, retained: Mapping[str, str] | None = None
) -> list[Object]:
    """Objects that shall exist for `proxy`, in the order of their writing: secrets before the config that names them.

    `retained` are secret files (base64) that the config before this one names: a pod may start before it sees the new one.
    """
    return [
        _service_account(proxy),
        _secret(proxy, compiled, retained or {}),
        _config_map(proxy, compiled),
        _service(proxy),
        _peers(proxy),
        _deployment(proxy, settings),
    ]


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


def _config_map(proxy: McpProxy, compiled: Compiled) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(proxy, config_name(proxy), {meta.ANNOTATION_REVISION: compiled.config.revision}),
        "data": {CONFIG_FILE: to_json(compiled.config)},
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
                {"name": "mcp", "port": spec.port, "targetPort": "mcp", "protocol": "TCP", "appProtocol": "http"}
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
        "serviceAccountName": child_name(proxy),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30 + DRAIN_SECONDS,
        "securityContext": {"fsGroup": NON_ROOT_ID},
        "containers": [_container(proxy, settings)],
        "volumes": [_config_volume(proxy), {"name": "tmp", "emptyDir": {}}],
    }
    if settings.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(proxy, child_name(proxy)),
        "spec": {
            "replicas": proxy.spec.replicas,
            "selector": {"matchLabels": selector(proxy)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": labels(proxy)}, "spec": pod},
        },
    }


def _config_volume(proxy: McpProxy) -> Object:
    """One projected volume, so that the kubelet swaps config and secrets in a single step."""
    return {
        "name": "config",
        "projected": {
            "defaultMode": 0o440,
            "sources": [{"configMap": {"name": config_name(proxy)}}, {"secret": {"name": secret_name(proxy)}}],
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
        ],
        "env": [
            {"name": "WORKERS", "value": str(proxy.spec.workers)},
            {"name": "MCP_PROXY_INTERNAL_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "MCP_PROXY_INTERNAL_PORT", "value": str(INTERNAL_PORT)},
            {"name": "MCP_PROXY_PEERS", "value": f"{peers_name(proxy)}.{proxy.metadata.namespace}.svc:{INTERNAL_PORT}"},
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
        "startupProbe": {"httpGet": {"path": "/healthz", "port": "mcp"}, "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "mcp"}, "periodSeconds": 10, "timeoutSeconds": 5},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "mcp"}, "periodSeconds": 2, "timeoutSeconds": 5},
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}},
    }
