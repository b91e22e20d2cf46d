"""What the installation decides for every pod that the operator makes."""

from dataclasses import dataclass
from typing import Literal

from mcp_operator_proxy.egress import Egress


@dataclass(frozen=True, slots=True)
class HostingSettings:
    """Images of proxies and of stdio servers, and how they are pulled."""

    proxy_image: str
    runner_image: str
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    egress: Egress | None = None
    """Which addresses proxies and probes may connect to for a server; None: all."""
    operator_namespace: str | None = None
    """Where the operator's own pods run; None: it does not run in the cluster."""
