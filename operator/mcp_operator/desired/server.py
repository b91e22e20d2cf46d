"""Objects of a hosted McpServer: a Deployment and a Service. A remote one has none."""

from datetime import datetime

from mcp_operator.api import meta
from mcp_operator.api.resources import McpServer
from mcp_operator.compile.servers import BRIDGE_PATH, BRIDGE_PORT, child_name, endpoint
from mcp_operator.desired.common import Object, confined, env, labels, metadata, resources, restricted, selector
from mcp_operator.desired.settings import HostingSettings

WRITABLE = "/var/cache/mcp"
"""Where a stdio server's tools (uv, npm) keep what they fetch; the rest of its root is read-only."""


def server_objects(
    server: McpServer, settings: HostingSettings, *, restarted_at: datetime | None = None
) -> list[Object]:
    """Objects that shall exist for `server`. `restarted_at` is when the operator last ordered a restart."""
    if server.spec.remote:
        return []
    return [_deployment(server, settings, restarted_at), _service(server)]


def _service(server: McpServer) -> Object:
    port, _ = _endpoint(server)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(server, child_name(server)),
        "spec": {
            "selector": selector(server),
            "ports": [{"name": "mcp", "port": port, "targetPort": "mcp", "protocol": "TCP", "appProtocol": "http"}],
        },
    }


def _deployment(server: McpServer, settings: HostingSettings, restarted_at: datetime | None) -> Object:
    stdio = server.spec.stdio is not None
    template: Object = {"metadata": {"labels": labels(server)}}
    if restarted_at:
        template["metadata"]["annotations"] = {meta.ANNOTATION_RESTARTED_AT: restarted_at.isoformat()}
    template["spec"] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [_stdio_container(server, settings) if stdio else _container(server)],
    }
    if settings.image_pull_secrets:
        template["spec"]["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    if stdio:
        template["spec"] |= {
            "securityContext": {"fsGroup": restricted()["runAsGroup"]},
            "volumes": [{"name": "cache", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
        }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(server, child_name(server)),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": selector(server)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": template,
        },
    }


def _container(server: McpServer) -> Object:
    spec = server.spec.container
    assert spec
    own_port = any(variable.name == "PORT" for variable in spec.env)
    body: Object = {
        "name": "server",
        "image": spec.image,
        "env": [*([] if own_port else [{"name": "PORT", "value": str(spec.port)}]), *env(spec.env)],
        "ports": [{"name": "mcp", "containerPort": spec.port, "protocol": "TCP"}],
        "resources": resources(spec.resources),
        "securityContext": confined(),
        "readinessProbe": {"tcpSocket": {"port": "mcp"}, "periodSeconds": 2},
    }
    optional = {"imagePullPolicy": spec.image_pull_policy, "command": list(spec.command), "args": list(spec.args)}
    return body | {key: value for key, value in optional.items() if value}


def _stdio_container(server: McpServer, settings: HostingSettings) -> Object:
    spec = server.spec.stdio
    assert spec
    bridge = ["--port", str(BRIDGE_PORT), "--path", BRIDGE_PATH]
    bridge += ["--isolation", server.spec.isolation, "--name", server.metadata.name]
    return {
        "name": "server",
        "image": settings.runner_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["mcp-operator-proxy", "bridge"],
        "args": [*bridge, "--", spec.command, *spec.args],
        "env": env(spec.env),
        "ports": [{"name": "mcp", "containerPort": BRIDGE_PORT, "protocol": "TCP"}],
        "resources": resources(spec.resources),
        "securityContext": restricted(),
        "volumeMounts": [{"name": "cache", "mountPath": WRITABLE}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
        "startupProbe": {"httpGet": {"path": "/healthz", "port": "mcp"}, "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "mcp"}, "periodSeconds": 10},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "mcp"}, "periodSeconds": 2},
    }


def _endpoint(server: McpServer) -> tuple[int, str]:
    found = endpoint(server)
    assert found
    return found
