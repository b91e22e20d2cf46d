"""What of a backend's catalogue is not approved, made when it is asked for and kept while nothing changes."""

from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.config import Server
from mcp_operator_proxy.pinning.judge import unapproved
from mcp_operator_proxy.report import UnapprovedTool


class Judged:
    """Of one backend. It may be asked by several threads: what is made twice is made alike."""

    def __init__(self) -> None:
        self._made: tuple[Catalogue, Server, tuple[UnapprovedTool, ...]] | None = None

    def of(self, server: Server, catalogue: Catalogue, *, known: bool) -> tuple[UnapprovedTool, ...]:
        """Nothing where the server's definitions are not pinned, or its catalogue is not `known` yet."""
        if server.pinning == "off" or not known:
            return ()
        made = self._made
        if made is None or made[0] is not catalogue or made[1] is not server:
            made = self._made = (catalogue, server, tuple(unapproved(catalogue.tools, server.pins)))
        return made[2]
