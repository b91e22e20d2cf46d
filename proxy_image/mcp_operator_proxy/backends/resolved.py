"""A server of the configuration, as far as it takes to reach it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mcp_operator_proxy.backends.connect import Target
from mcp_operator_proxy.backends.stdio import CATALOGUE, on_behalf_of
from mcp_operator_proxy.backends.stdio import URL as STDIO_URL
from mcp_operator_proxy.config import Server
from mcp_operator_proxy.egress import Egress


@dataclass(frozen=True)
class ResolvedServer:
    """A server of the config with its headers and environment filled in from the secrets."""

    server: Server
    headers: Mapping[str, str]
    env: Mapping[str, str] = field(default_factory=dict)
    identity: str | None = None
    """Key that signs for whom requests are, where the server has a process for each user and is reached over TCP."""
    egress: Egress | None = None
    """Of the process: decides which addresses may be connected to. None: all."""
    waits: str = ""
    """Why it cannot be reached yet; empty where it can. Only a token that is not there yet is such a reason."""
    logs_key: str | None = None
    """Key that signs requests for the lines of standard error which the bridge at its URL keeps."""
    owner: str | None = None
    """The user whose instance this is, and in whose name all is asked, lists too; None: of all."""
    sealed: str | None = None
    """The owner's token, which goes to the server encrypted by `identity` (`callertoken`)."""

    @property
    def divided(self) -> bool:
        """Whether the server has a process for each session or user, and has to be told whose a request is."""
        stdio = self.server.stdio
        return self.identity is not None or (stdio is not None and stdio.isolation != "shared")

    def target(self, uds: str | None = None, caller: str = CATALOGUE) -> Target:
        """How to reach it. A stdio server is reached through the unix socket `uds`, over streamable HTTP.

        `caller` is the query that says for whom, where a stdio server has a process for each session or user.
        """
        if self.owner is not None and caller == CATALOGUE:
            caller = on_behalf_of(self.owner)
        said = caller if self.divided else ""
        if self.identity is not None and said == CATALOGUE:
            said = ""  # over TCP that is what everybody gets who says nothing
        url = str(self.server.url or STDIO_URL)
        return Target(
            url=f"{url}?{said}" if said else url,
            transport=self.server.transport if self.server.url is not None else "streamable-http",
            headers=self.headers,
            ca_bundle=self.server.ca_bundle,
            http2=self.server.http2,
            uds=uds,
            connect_timeout=self._connect_timeout(),
            egress=self.egress,
        )

    def _connect_timeout(self) -> float:
        """A session that has a process of its own is opened by a start of it, which is as slow as a call may be."""
        server = self.server
        if self.divided:
            return max(server.connect_timeout_seconds, server.call_timeout_seconds)
        return server.connect_timeout_seconds

    def same_endpoint(self, other: "ResolvedServer") -> bool:
        """Whether only headers, times and a token that requests carry differ, so that open sessions can go on."""
        mine, theirs = self.server, other.server
        return (
            mine.url,
            mine.stdio,
            mine.transport,
            mine.ca_bundle,
            mine.http2,
            self.env,
            self.identity,
            self.owner,
        ) == (
            theirs.url,
            theirs.stdio,
            theirs.transport,
            theirs.ca_bundle,
            theirs.http2,
            other.env,
            other.identity,
            other.owner,
        )

    def __repr__(self) -> str:
        return f"ResolvedServer({self.server.id})"
