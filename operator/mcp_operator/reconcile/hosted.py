"""The children of a hosted server as they shall be, from the resource, what it refers to, and what runs now. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mcp_operator.api import meta
from mcp_operator.api.resources import McpServer
from mcp_operator.compile.content import environment_digest
from mcp_operator.compile.lookup import DataObject, DataObjects
from mcp_operator.compile.problems import Problem
from mcp_operator.compile.references import resolve
from mcp_operator.compile.servers import IDENTITY_KEY, identity_name, unsupported
from mcp_operator.desired import HostingSettings, server_objects
from mcp_operator.desired.podtemplate import PodTemplateRefused


def hosted_children(
    server: McpServer,
    settings: HostingSettings,
    objects: DataObjects,
    deployment: Mapping[str, Any] | None,
    *,
    restarted_at: datetime | None,
    identity: bytes | None,
) -> list[dict[str, Any]] | Problem:
    """The children in the order of their writing, or why the spec can't be acted on. `deployment` is the one that runs now."""
    if problem := unsupported(server):
        return problem
    environment = _environment(server, with_identity(server, objects, identity), deployment)
    try:
        return server_objects(server, settings, restarted_at=restarted_at, environment=environment, identity=identity)
    except PodTemplateRefused as refused:
        return Problem("InvalidValue", str(refused))


def with_identity(server: McpServer, objects: DataObjects, key: bytes | None) -> DataObjects:
    """The objects with the key of the server's users as it will be."""
    if key is None:
        return objects
    return {
        **objects,
        ("Secret", server.metadata.namespace, identity_name(server)): DataObject("", {IDENTITY_KEY: key}),
    }


def template_annotations(deployment: Mapping[str, Any]) -> dict[str, str]:
    """Annotations of a Deployment's pod template."""
    template = deployment.get("spec", {}).get("template", {}).get("metadata") or {}
    return template.get("annotations") or {}


def _environment(server: McpServer, objects: DataObjects, deployment: Mapping[str, Any] | None) -> str | None:
    """The digest of what stands behind the environment. While something that is referred to is missing, the one that is
    deployed: pods that run are not given up for others that can't start."""
    found = environment_digest(server, objects)
    if found is None or deployment is None or not resolve(server, objects).problems:
        return found
    return template_annotations(deployment).get(meta.ANNOTATION_ENVIRONMENT)
