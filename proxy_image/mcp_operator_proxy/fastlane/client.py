"""What the lane keeps of one client's session (the handshake eras); it lives in the connection's state and ends with it."""

from typing import TYPE_CHECKING, Any, Final

from mcp_operator_proxy.fastlane.call import Side
from mcp_operator_proxy.fastlane.meta import ALL_LEVELS, capabilities, client_meta, levels_from
from mcp_operator_proxy.front import FrontSession
from mcp_operator_proxy.sessions.session import Session

if TYPE_CHECKING:
    from mcp_operator_proxy.fastlane.exchange import Exchange

_KEY: Final = "mcp_operator_proxy.lane"


class Client:
    """`calls` are those in flight in the lane, by their id as JSON."""

    __slots__ = ("_declared", "_id", "_side", "_stamps", "asks", "calls", "front", "version")

    def __init__(self, session: Session) -> None:
        params = session.connection.client_params
        assert params is not None
        declared = params.capabilities
        self.front = FrontSession.of(session.connection)
        self.version = session.protocol_version
        self.asks = any(kind is not None for kind in (declared.sampling, declared.elicitation, declared.roots))
        """A server may ask this client something in the middle of a call."""
        self.calls: dict[bytes, Exchange] = {}
        self._declared = capabilities(declared)
        self._id = session.id.encode("latin-1")
        self._stamps: dict[str, bytes] = {}
        self._side: tuple[str | None, Side] | None = None

    @classmethod
    def of(cls, session: Session) -> "Client | None":
        """The client of an initialized session; None before that."""
        state = session.connection.state
        found = state.get(_KEY)
        if isinstance(found, cls):
            return found
        if session.connection.client_params is None:
            return None
        made = state[_KEY] = cls(session)
        session.connection.exit_stack.callback(made.close)
        return made

    def stamp(self, version: str) -> bytes:
        """The `_meta` members by which the proxy names itself to a modern backend for this client."""
        found = self._stamps.get(version)
        if found is None:
            found = self._stamps[version] = client_meta(version, self._declared)
        return found

    def side(self, token: bytes | None, stamp: dict[str, Any]) -> Side:
        """What its session says about answers at the moment."""
        level = self.front.log_level
        if token is None and self._side is not None and self._side[0] == level:
            return self._side[1]
        made = Side(
            version=self.version,
            modern=False,
            session=self._id,
            levels=levels_from(level) if level else ALL_LEVELS,
            token=token,
            stamp=stamp,
            stamp_member=b"",
            may_stream=not self.asks,
        )
        if token is None:
            self._side = level, made
        return made

    def close(self) -> None:
        """The session has ended: so do its calls."""
        for exchange in list(self.calls.values()):
            exchange.end()
