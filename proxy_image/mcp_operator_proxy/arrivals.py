"""A call of something that is not in the table, as its server has not been listed yet: by its name one can tell whose it is.

Replicas and workers see a server arrive one after the other. What one of them has shown to a client another one may be
asked for that does not know it yet.
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING

from mcp.shared.exceptions import MCPError

from mcp_operator_proxy.backends.ask import wire_error
from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.config import Route, exposed_name

if TYPE_CHECKING:
    from mcp_operator_proxy.backends.backend import Backend
    from mcp_operator_proxy.proxy import Proxy

_ANY = "\0"


def may_show(route: Route, name: str) -> list[str]:
    """Ids of the servers of the route whose tools and prompts would have names like this one. Without a prefix none has."""
    found = []
    for entry in route.servers:
        if entry.prefix:
            shown = exposed_name(entry.naming or route.naming, prefix=entry.prefix, server=entry.server, tool=_ANY)
            before, _, after = shown.partition(_ANY)
            if len(name) > len(before) + len(after) and name.startswith(before) and name.endswith(after):
                found.append(entry.server)
    return found


async def arrived(proxy: "Proxy", path: str, name: str) -> bool:
    """Whether there was a server that may show `name` and had not been listed; it has been now, and the table shows it.

    Raises:
        MCPError: it cannot be listed.
    """
    state = proxy.state
    route = next((r for r in state.config.routes if r.path == path), None) if state is not None else None
    if state is None or route is None:
        return False
    found = [state.backends[server] for server in may_show(route, name) if server in state.backends]
    awaited = [backend for backend in found if not backend.status.ever_ready]
    failures = [f for f in await asyncio.gather(*map(_looked_for, awaited)) if f is not None]
    if failures and len(failures) == len(awaited):
        raise failures[0]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max((b.resolved.server.connect_timeout_seconds for b in awaited), default=0.0)):
            if awaited:
                await proxy.caught_up()
    return bool(awaited)


async def _looked_for(backend: "Backend") -> MCPError | None:
    try:
        await backend.looked_for()
    except BackendError as error:
        return wire_error(backend.id, error)
    return None
