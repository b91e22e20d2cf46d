"""Attributes of spans that say where a request came from and whom it goes to."""

import hashlib
from typing import TYPE_CHECKING, Final

from mcp_operator_proxy.tracing.spans import Attributes

if TYPE_CHECKING:
    from mcp_operator_proxy.backends.backend import Backend

_HTTP: Final[Attributes] = {"network.transport": "tcp", "network.protocol.name": "http"}
_PIPE: Final[Attributes] = {"network.transport": "pipe"}


def session_mark(session: str) -> str:
    """What stands for a session's id, which is a credential where nobody has to authenticate: the same for the same."""
    return hashlib.blake2b(session.encode(), digest_size=16).hexdigest()


def client(address: str | None, session: str | None, *, http: bool = True) -> Attributes:
    """Of a request that came in."""
    found = dict(_HTTP if http else _PIPE)
    if address:
        found["client.address"] = address
    if session:
        found["mcp.session.id"] = session_mark(session)
    return found


def server(backend: "Backend", session: str | None) -> Attributes:
    """Of a request to a server."""
    found: Attributes = {"mcp_operator.server": backend.id}
    url = backend.server.url
    if url is None:
        found |= _PIPE
    else:
        found |= _HTTP
        if url.host:
            found["server.address"] = url.host
            found["server.port"] = url.port or (443 if url.scheme == "https" else 80)
    if session:
        found["mcp.session.id"] = session_mark(session)
    return found
