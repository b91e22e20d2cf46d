"""What the lane keeps of one client's session (the handshake eras); it lives in the connection's state and ends with it."""

from typing import TYPE_CHECKING, Final

from mcp_operator_proxy.fastlane.meta import capabilities, client_meta
from mcp_operator_proxy.front import FrontSession
from mcp_operator_proxy.sessions.table import Session

if TYPE_CHECKING:
    from mcp_operator_proxy.fastlane.exchange import Exchange

_KEY: Final = "mcp_operator_proxy.lane"


class Client:
    """`calls` are those in flight in the lane, by their id as JSON."""

    __slots__ = ("_declared", "_stamps", "asks", "calls", "front", "version")

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
        self._stamps: dict[str, bytes] = {}

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

    def ended(self, request_id: bytes) -> None:
        self.calls.pop(request_id, None)

    def close(self) -> None:
        """The session has ended: so do its calls."""
        for exchange in list(self.calls.values()):
            exchange.end()
