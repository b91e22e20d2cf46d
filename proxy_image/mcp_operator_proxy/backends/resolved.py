"""A server of the configuration, as far as it takes to reach it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mcp_operator_proxy.backends.connect import Target
from mcp_operator_proxy.backends.stdio import CATALOGUE
from mcp_operator_proxy.backends.stdio import URL as STDIO_URL
from mcp_operator_proxy.config import Server


@dataclass(frozen=True)
class ResolvedServer:
    """A server of the config with its headers and environment filled in from the secrets."""

    server: Server
    headers: Mapping[str, str]
    env: Mapping[str, str] = field(default_factory=dict)

    def target(self, uds: str | None = None, caller: str = CATALOGUE) -> Target:
        """How to reach it. A stdio server is reached through the unix socket `uds`, over streamable HTTP.

        `caller` is the query that says for whom, where a stdio server has a process for each session or user.
        """
        private = self.server.stdio is not None and self.server.stdio.isolation != "shared"
        return Target(
            url=f"{STDIO_URL}?{caller}" if private and caller else str(self.server.url or STDIO_URL),
            transport=self.server.transport if self.server.url is not None else "streamable-http",
            headers=self.headers,
            ca_bundle=self.server.ca_bundle,
            http2=self.server.http2,
            uds=uds,
            connect_timeout=self._connect_timeout(),
        )

    def _connect_timeout(self) -> float:
        """A session that has a process of its own is opened by a start of it, which is as slow as a call may be."""
        server = self.server
        if server.stdio is not None and server.stdio.isolation != "shared":
            return max(server.connect_timeout_seconds, server.call_timeout_seconds)
        return server.connect_timeout_seconds

    def same_endpoint(self, other: "ResolvedServer") -> bool:
        """Whether only headers and times differ, so that open sessions can go on."""
        mine, theirs = self.server, other.server
        return (mine.url, mine.stdio, mine.transport, mine.ca_bundle, mine.http2, self.env) == (
            theirs.url,
            theirs.stdio,
            theirs.transport,
            theirs.ca_bundle,
            theirs.http2,
            other.env,
        )

    def __repr__(self) -> str:
        return f"ResolvedServer({self.server.id})"
