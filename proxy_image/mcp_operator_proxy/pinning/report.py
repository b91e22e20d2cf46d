"""What of a backend's catalogue is not approved, made when it is asked for and kept while nothing changes."""

from collections.abc import Iterable
from typing import TypeAlias

from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.config import Server
from mcp_operator_proxy.pinning.judge import unapproved
from mcp_operator_proxy.report import UnapprovedTool

_Keys: TypeAlias = frozenset[tuple[str, str]]


class Judged:
    """Of one backend. It may be asked by several threads: what is made twice is made alike.

    When the pins change, the catalogue may be older than they are: the server has moved on, they approve what it says now, and
    what it said before is nobody's concern. So what only the new pins refuse is told once the server has been listed anew.
    Withheld it is from the first moment on; that is not decided here.
    """

    def __init__(self) -> None:
        self._made: tuple[Catalogue, Server, tuple[UnapprovedTool, ...]] | None = None
        self._doubted: _Keys = frozenset()
        self._since = 0.0

    def of(self, server: Server, catalogue: Catalogue, *, known: bool) -> tuple[UnapprovedTool, ...]:
        """Nothing where the server's definitions are not pinned, or its catalogue is not `known` yet."""
        found, doubted = self._all(server, catalogue, known=known), self._doubted
        return tuple(one for one in found if _key(one) not in doubted) if doubted else found

    def doubt(
        self, told: Iterable[UnapprovedTool], server: Server, catalogue: Catalogue, *, known: bool, now: float
    ) -> None:
        """The pins have changed, to those of `server`. `told` is what was not approved by those before, `now` the monotonic clock."""
        self._doubted = _keys(self._all(server, catalogue, known=known)) - _keys(told)
        self._since = now

    def listed(self, asked_at: float) -> bool:
        """The server has told its lists, which it was asked for then; whether there may be more to tell of it than before."""
        if not self._doubted or asked_at < self._since:
            return False
        self._doubted = frozenset()
        return True

    def _all(self, server: Server, catalogue: Catalogue, *, known: bool) -> tuple[UnapprovedTool, ...]:
        if server.pinning == "off" or not known:
            return ()
        made = self._made
        if made is None or made[0] is not catalogue or made[1] is not server:
            made = self._made = (catalogue, server, tuple(unapproved(catalogue.tools, server.pins)))
        return made[2]


def _key(one: UnapprovedTool) -> tuple[str, str]:
    return one.tool, one.digest


def _keys(found: Iterable[UnapprovedTool]) -> _Keys:
    return frozenset(map(_key, found))
