"""Which HTTP paths of a proxy are led to from outside. `/status`, `/metrics` and the REST interface are not.

The inspector is only where callers authenticate: where they do not, whoever reaches it sees everything that goes by.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Literal, TypeAlias

from mcp_operator_proxy import config
from mcp_operator_proxy.authn.metadata import WELL_KNOWN

Match: TypeAlias = tuple[Literal["Exact", "Prefix"], str]
ROOT_PATHS: Final = ("/", "/sse", "/messages")
"""What an endpoint at `/` answers to: itself, and the two paths of HTTP+SSE."""
SIGN_IN: Final[tuple[Match, ...]] = (("Exact", "/oauth/callback"), ("Prefix", "/oauth/start"))
"""Where browsers of users come to and come back to."""


def led_to(body: config.ProxyConfig) -> Iterator[Match]:
    """The MCP endpoints; with issuers of tokens, what clients read of them (RFC 9728); where users sign in, what their browsers open."""
    yield from exposed(route.path for route in body.routes)
    if body.inspector is not None and body.auth is not None:
        yield "Prefix", config.UI_PATH
    metadata = body.auth.resource_metadata if body.auth else None
    if metadata is not None or (body.auth is not None and body.auth.jwt):
        yield "Prefix", WELL_KNOWN
    is_public = body.public_url is not None or (metadata is not None and metadata.resource is not None)
    kinds = {server.credential.kind for server in body.servers if server.credential is not None}
    if is_public and kinds - {"clientCredentials"}:
        yield from SIGN_IN


def exposed(paths: Iterable[str]) -> Iterator[Match]:
    """How the path of each MCP endpoint is matched, sorted.

    An endpoint has everything below its path, but for one at `/`: there the proxy's own are.
    """
    for path in sorted(set(paths)):
        if path == "/":
            yield from (("Exact", own) for own in ROOT_PATHS)
        else:
            yield "Prefix", path
