"""May this caller use this? The one hook that both the fast lane and the full path ask before anything reaches a backend."""

from typing import Final, Protocol

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.table import Kind


class Policy(Protocol):
    """Decides without I/O, as it runs before each call."""

    def refusal(self, principal: Principal | None, route: str, kind: Kind, name: str) -> str | None:
        """Why `principal` may not use `name` (as exposed) on the route of that path; None where it may."""
        ...


class AllowAll:
    """Everybody whom the proxy lets in may use all that a route shows."""

    def refusal(self, principal: Principal | None, route: str, kind: Kind, name: str) -> str | None:  # noqa: ARG002
        return None


ALLOW_ALL: Final = AllowAll()
