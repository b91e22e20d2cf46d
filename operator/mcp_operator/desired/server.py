"""Objects of a hosted McpServer: a Deployment and a Service, and a Secret where a bridge runs it. A remote one has none."""

import base64
from datetime import datetime

from mcp_operator.api import meta
from mcp_operator.api.resources import McpServer
from mcp_operator.compile.servers import IDENTITY_KEY, child_name, endpoint, has_key, identity_name
from mcp_operator.desired.common import Object, labels, metadata, pull_secrets, selector
from mcp_operator.desired.containers import Workload, workload
from mcp_operator.desired.files import with_files
from mcp_operator.desired.podtemplate import merged
from mcp_operator.desired.settings import HostingSettings


def server_objects(
    server: McpServer,
    settings: HostingSettings,
    *,
    restarted_at: datetime | None = None,
    environment: str | None = None,
    identity: bytes | None = None,
) -> list[Object]:
    """Objects that shall exist for `server`, in the order of their writing. `restarted_at` is when the operator last ordered a
    restart, `environment` the digest of what stands behind its environment: another one rolls the pods. `identity` is the
    key by which proxies sign what they ask the server's bridge.

    Raises PodTemplateRefused.
    """
    if server.spec.remote:
        return []
    annotations = {meta.ANNOTATION_ENVIRONMENT: environment} if environment else {}
    if restarted_at:
        annotations[meta.ANNOTATION_RESTARTED_AT] = restarted_at.isoformat()
    first = [_identity(server, identity)] if identity and has_key(server) else []
    return [*first, _deployment(server, settings, annotations), _service(server)]


def _identity(server: McpServer, key: bytes) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(server, identity_name(server)),
        "type": "Opaque",
        "data": {IDENTITY_KEY: base64.b64encode(key).decode()},
    }


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


def _deployment(server: McpServer, settings: HostingSettings, annotations: dict[str, str]) -> Object:
    generated: Object = {"metadata": {"labels": labels(server)}, "spec": _pod(server, settings)}
    if annotations:
        generated["metadata"]["annotations"] = annotations
    user = server.spec.pod_template
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(server, child_name(server)),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": selector(server)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": merged(generated, user.patch() if user else None),
        },
    }


def _pod(server: McpServer, settings: HostingSettings) -> Object:
    spec = server.spec
    made: Workload = with_files(workload(server, settings), server)
    pod: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": made.grace_seconds,
        "containers": made.containers,
    }
    if made.init_containers:
        pod["initContainers"] = made.init_containers
    if made.volumes:
        pod["volumes"] = made.volumes
    if made.fs_group is not None:
        pod["securityContext"] = {"fsGroup": made.fs_group}
    if spec.service_account_name:
        pod["serviceAccountName"] = spec.service_account_name
    if secrets := pull_secrets(settings.image_pull_secrets, spec.image_pull_secrets):
        pod["imagePullSecrets"] = secrets
    return pod


def _endpoint(server: McpServer) -> tuple[int, str]:
    found = endpoint(server)
    assert found
    return found
