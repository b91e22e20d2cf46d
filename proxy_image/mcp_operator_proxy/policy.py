"""May this caller use this? The one hook that the fast lane, the full path, REST and search ask before anything reaches a backend."""

from typing import Final, Protocol

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.table import Entry, Kind, RouteTable


class Policy(Protocol):
    """Decides without I/O, as it runs before each call."""

    def refusal(self, principal: Principal | None, route: str, kind: Kind, name: str, entry: Entry) -> str | None:
        """Why `principal` may not use `name` (as exposed), which is `entry`, on the route of that path; None where it may.

        The reason is for logs. The caller is told what it would be told if there were no such thing.
        """
        ...

    def visible(self, principal: Principal | None, table: RouteTable) -> RouteTable:
        """The table with nothing in it but what `principal` may use: what its lists show."""
        ...


class AllowAll:
    """Everybody whom the proxy lets in may use all that a route shows."""

    def refusal(self, principal: Principal | None, route: str, kind: Kind, name: str, entry: Entry) -> str | None:  # noqa: ARG002
        return None

    def visible(self, principal: Principal | None, table: RouteTable) -> RouteTable:  # noqa: ARG002
        return table


ALLOW_ALL: Final = AllowAll()
