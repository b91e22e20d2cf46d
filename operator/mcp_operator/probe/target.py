"""Where to ask: one MCP endpoint, with what a request to it needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mcp_operator_proxy.backends.connect import Target as ConnectTarget
from mcp_operator_proxy.config import Transport
from mcp_operator_proxy.egress import Egress

_CONNECT_SHARE: Final = 0.9
"""Of the whole time: what connecting may take, so that it ends with a reason of its own before the whole is over."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One MCP endpoint. `headers` and `ca_bundle` may hold credentials, so they are not in its repr."""

    url: str
    transport: Transport = "auto"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_bundle: str | None = field(default=None, repr=False)
    """PEM certificates to trust instead of the system's."""
    verify: bool = True
    """Whether the server's certificate must be one that is trusted, for its name."""
    timeout: float = 5.0
    """Seconds that the whole probe may take."""
    lists: bool = True
    """Whether its lists are read too. Of a proxy they are known without that: its replicas tell them."""
    definitions: bool = False
    """Whether the tools' definitions are kept, beside their digest."""
    bridge: str | None = None
    """URL at which the bridge of a pod that is not ready says why, to be asked where the server does not answer."""

    egress: Egress | None = None
    """Which addresses may be connected to; None: all."""

    guarded: bool = False
    """Whether it wants a credential that only proxies have: that it asks for one is an answer."""

    def to_connect(self) -> ConnectTarget:
        return ConnectTarget(
            url=self.url,
            transport=self.transport,
            headers=self.headers,
            ca_bundle=self.ca_bundle,
            connect_timeout=self.timeout * _CONNECT_SHARE,
            egress=self.egress,
        )

    def same_endpoint(self, other: "Target") -> bool:
        """Whether both ask the same server, perhaps with other headers and times."""
        return (self.url, self.transport, self.ca_bundle) == (other.url, other.transport, other.ca_bundle)
