"""Which tool a name means that a Python caller gives."""

import asyncio
import contextlib
from collections.abc import Mapping

from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.table import RouteTable


def shown_as(table: RouteTable, name: str, namespace: str, servers: Mapping[str, str]) -> str | None:
    """The name that clients see, for that name or for `namespace.server.tool`. `servers` has their names by id."""
    if name in table.tools:
        return name
    first, _, rest = name.partition(".")
    if first != namespace:
        return None
    for shown, entry in table.tools.items():
        if rest == f"{servers.get(entry.server)}.{entry.name}":
            return shown
    return None


async def all_answered(proxy: Proxy, seconds: float) -> bool:
    """Whether there were servers that had not answered for the first time; they are waited for."""
    state = proxy.state
    starting = [b for b in state.backends.values() if not b.asked.is_set()] if state is not None else []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            for backend in starting:
                await backend.asked.wait()
            if starting:
                await proxy.caught_up()
    return bool(starting)
