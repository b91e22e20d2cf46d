"""What is applied: N McpServers in teams of `TEAM`, all in one namespace, and a McpProxy for each team. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from mcp_operator.api import meta

Body = dict[str, Any]
NAMESPACE: Final = "bench"
TEAM: Final = 40
"""Servers of one proxy: the same however many there are in all, so that only the unrelated ones grow in number."""
TOOLS: Final = 10
"""Tools of each server."""
PORT: Final = 8080
SLOWER: Final = ("30s", "31s")
"""Two values of the field that changes change."""


@dataclass(frozen=True)
class World:
    """`servers` in number, behind the backend at `backend`."""

    servers: int
    backend: str

    @property
    def proxies(self) -> int:
        return -(-self.servers // TEAM)

    @property
    def server_names(self) -> list[str]:
        return [f"server-{number:04}" for number in range(self.servers)]

    @property
    def proxy_names(self) -> list[str]:
        return [f"team-{number:03}" for number in range(self.proxies)]

    def team_of(self, server: str) -> str:
        """Neighbours in the order of applying belong to different teams: each proxy hears of a server again and again."""
        return f"team-{int(server.rpartition('-')[2]) % self.proxies:03}"

    def members(self, team: str) -> int:
        return sum(1 for name in self.server_names if self.team_of(name) == team)

    def objects(self) -> Iterator[tuple[str, Body]]:
        """Paths and bodies, the proxies first: so each of them sees its servers come."""
        for name in self.proxy_names:
            yield meta.PROXY.path(NAMESPACE, name), proxy(name)
        for name in self.server_names:
            yield meta.SERVER.path(NAMESPACE, name), server(name, self.team_of(name), f"{self.backend}/{name}/mcp")

    def hosts(self) -> str:
        """/etc/hosts with the names of the proxies' Services: who asks for one finds the one replica."""
        lines = [f"{address(name)} {name}-proxy.{NAMESPACE}.svc" for name in self.proxy_names]
        return "\n".join(["127.0.0.1 localhost", *lines, ""])


def address(proxy_name: str) -> str:
    """Where the one replica of a proxy listens: a loopback address of its own."""
    number = int(proxy_name.rpartition("-")[2])
    return f"127.0.{2 + number // 250}.{1 + number % 250}"


def proxy(name: str) -> Body:
    return _resource(
        meta.PROXY.kind,
        name,
        {},
        {"servers": {"selector": {"matchLabels": {"team": name}}}, "service": {"port": PORT}},
    )


def server(name: str, team: str, url: str) -> Body:
    return _resource(meta.SERVER.kind, name, {"team": team}, {"remote": {"url": url}})


def _resource(kind: str, name: str, labels: dict[str, str], spec: Body) -> Body:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": meta.API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
