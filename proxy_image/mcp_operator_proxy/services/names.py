"""Servers by the names that people and REST give them: `namespace/name`, or `name` alone. Pure."""

from collections.abc import Iterable, Iterator

from mcp_operator_proxy.config import Server


def named(servers: Iterable[Server], name: str) -> list[Server]:
    """Those that `name` may mean: one where it is whole, or where only one namespace has the name."""
    known = list(servers)
    whole = [server for server in known if server.id == name]
    return whole or [server for server in known if server.id.partition("/")[2] == name]


def owners(servers: Iterable[Server], tool_id: str) -> Iterator[Server]:
    """The servers that a tool of the id `server.tool` can be of, whether they have shown it or not."""
    for server in servers:
        if tool_id.startswith((f"{server.id}.", f"{server.id.partition('/')[2]}.")):
            yield server
