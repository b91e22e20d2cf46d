"""Facts about one McpServer that follow from its spec alone."""

from pydantic import AnyHttpUrl, ValidationError

from mcp_operator.api.resources import McpServer
from mcp_operator.compile.problems import Problem

BRIDGE_PORT = 8080
BRIDGE_PATH = "/mcp"


def unsupported(server: McpServer) -> Problem | None:
    """Why a server that the schema admits cannot be run, if so."""
    if server.spec.remote:
        try:
            AnyHttpUrl(server.spec.remote.url)
        except ValidationError as error:
            return Problem("InvalidValue", f"spec.remote.url: {error.errors(include_input=False)[0]['msg']}")
    if server.spec.isolation == "user":
        return Problem(
            "UnsupportedValue",
            "isolation: user needs an McpProxy that authenticates its callers, which this version can't declare; use shared or session",
        )
    return None


def child_name(server: McpServer) -> str:
    """Name of a hosted server's Deployment and Service."""
    return f"{server.metadata.name}-server"


def endpoint(server: McpServer) -> tuple[int, str] | None:
    """Port and path at which a hosted server's pod serves MCP; None for a remote one."""
    if server.spec.container:
        return server.spec.container.port, server.spec.container.path
    return (BRIDGE_PORT, BRIDGE_PATH) if server.spec.stdio else None


def cluster_url(server: McpServer) -> str:
    """Where pods of the cluster reach the server: its own URL, or its Service's."""
    if server.spec.remote:
        return server.spec.remote.url
    address = endpoint(server)
    assert address
    port, path = address
    return f"http://{child_name(server)}.{server.metadata.namespace}.svc:{port}{path}"
