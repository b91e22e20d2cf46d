"""Facts about one McpServer that follow from its spec alone."""

import re
from typing import Final

from pydantic import AnyHttpUrl, ValidationError

from mcp_operator.api.meta import CATEGORY_KEY
from mcp_operator.api.resources import McpServer
from mcp_operator.compile.problems import Problem

BRIDGE_PORT = 8080
BRIDGE_PATH = "/mcp"
MAX_CATEGORY = 128
_ONE_LABEL: Final = re.compile(
    r"^https?://(?!localhost(?:[:/?#]|$))[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?=[:/?#]|$)", re.IGNORECASE
)
IDENTITY_KEY = "key"
"""Key in that Secret's data."""


def unsupported(server: McpServer) -> Problem | None:
    """Why a server that the schema admits cannot be run, if so."""
    if server.spec.remote:
        try:
            AnyHttpUrl(server.spec.remote.url)
        except ValidationError as error:
            return Problem("InvalidValue", f"spec.remote.url: {error.errors(include_input=False)[0]['msg']}")
    return None


def category(server: McpServer) -> str:
    """Of its tools: as its spec says, else its annotation, else its label."""
    metadata = server.metadata
    said = server.spec.category or metadata.annotations.get(CATEGORY_KEY) or metadata.labels.get(CATEGORY_KEY, "")
    return said[:MAX_CATEGORY]


def child_name(server: McpServer) -> str:
    """Name of a hosted server's Deployment and Service."""
    return f"{server.metadata.name}-server"


def has_key(server: McpServer) -> bool:
    """Whether the server has a Secret with a key: what runs behind a bridge that keeps its standard error."""
    return server.spec.stdio is not None and server.spec.stdio.image is None


def identity_name(server: McpServer) -> str:
    """Name of the Secret with the key that the server's bridge knows: by it proxies sign what they ask it for its logs, and for
    whom they call a server that has a process for each user."""
    return f"{server.metadata.name}-server-identity"


def logs_elsewhere(server: McpServer) -> str:
    """How an operator of the cluster reads what a hosted server wrote, in words; empty for a remote one."""
    if server.spec.remote:
        return ""
    where = f"kubectl -n {server.metadata.namespace} logs deploy/{child_name(server)} -c server"
    return f"Its standard error is in the log of its container: {where}"


def pins_name(server: McpServer) -> str:
    """Name of the ConfigMap with the definitions that are approved, where they are pinned."""
    return f"{server.metadata.name}-pins"


def endpoint(server: McpServer) -> tuple[int, str] | None:
    """Port and path at which a hosted server's pod serves MCP; None for a remote one."""
    if server.spec.container:
        return server.spec.container.port, server.spec.container.path
    return (BRIDGE_PORT, BRIDGE_PATH) if server.spec.stdio else None


def cluster_url(server: McpServer) -> str:
    """Where pods of the cluster reach the server: its own URL, or its Service's.

    A URL whose host has one label names a Service of the server's namespace, whichever namespace it is asked from.
    """
    if server.spec.remote:
        return _whole(server.spec.remote.url, server.metadata.namespace)
    address = endpoint(server)
    assert address
    port, path = address
    return f"http://{child_name(server)}.{server.metadata.namespace}.svc:{port}{path}"


def _whole(url: str, namespace: str) -> str:
    """With the whole name of the Service, where its host is one label."""
    return _ONE_LABEL.sub(rf"\g<0>.{namespace}.svc", url, count=1)
