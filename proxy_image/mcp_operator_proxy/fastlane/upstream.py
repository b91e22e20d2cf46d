"""One backend as the lane sees it: its connections, and the head of each request to it."""

import asyncio
from typing import Final

from mcp_types import DiscoverResult

from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.resolved import ResolvedServer
from mcp_operator_proxy.backends.session import BackendSession
from mcp_operator_proxy.fastlane.connection import BackendConnection
from mcp_operator_proxy.fastlane.head import head, is_plain
from mcp_operator_proxy.fastlane.meta import spoken_version
from mcp_operator_proxy.fastlane.pool import Pool

ASIDE_SECONDS: Final = 5.0


class Upstream:
    """Made when a backend is first called through the lane; `close` ends its idle connections."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._pool: Pool | None = None
        self._socket: str | None = None
        self._resolved: ResolvedServer | None = None
        self._head = b""
        self._plain = False
        self._usable = False
        self._changes = -1
        self.spoken: str | None = None
        """The version that a modern server is asked in; None where it is not (known to be) modern. `usable` renews it."""
        self._asides: set[_Aside] = set()

    @property
    def usable(self) -> bool:
        """Whether the lane speaks this server's transport: streamable HTTP over HTTP/1.1, known to work."""
        if self.backend.changes != self._changes:
            self._look()
        return self._usable

    def _look(self) -> None:
        backend, changes = self.backend, self.backend.changes
        era = backend.era
        self.spoken = spoken_version(era) if isinstance(era, DiscoverResult) else None
        self._usable = (
            backend.transport_kind == "streamable-http"
            and era is not None
            and backend.stands_alone
            and not backend.resolved.waits
        )
        if self._usable and (backend.resolved is not self._resolved or backend.socket != self._socket):
            self._renew()
        self._usable = self._usable and self._plain
        self._changes = changes

    @property
    def pool(self) -> Pool:
        assert self._pool is not None  # `usable` was asked before
        return self._pool

    def _renew(self) -> None:
        """Headers or times have changed; the endpoint too where the server is a process that was started anew."""
        resolved = self.backend.resolved
        self._resolved, self._socket = resolved, self.backend.socket
        target = resolved.target(self._socket)
        self._plain = is_plain(target)
        if not self._plain:
            return
        if self._pool is not None:
            self._pool.close()
        self._pool = Pool(target)
        address = self._pool.address
        self._head = head(target, address.authority, address.path)

    def counts(self) -> tuple[int, int]:
        """Of its connections: those in use, idle ones."""
        return (0, 0) if self._pool is None else self._pool.counts()

    def request(self, more: bytes, body: bytes) -> bytes:
        """A whole request; `more` are header lines, each with its line end."""
        return b"%b%bcontent-length: %d\r\n\r\n%b" % (self._head, more, len(body), body)

    def post_aside(self, more: bytes, body: bytes) -> None:
        """Send a message whose answer matters to nobody: a notification, or the answer to a question."""
        if self._pool is not None and not self._pool.closed:
            _Aside(self._pool, self.request(more, body), self._asides)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()


def session_headers(session: BackendSession) -> bytes:
    """The header lines by which a legacy server knows its session."""
    lines = session.header_lines
    if lines is None:
        connected = session.connected
        text = f"mcp-protocol-version: {connected.protocol_version}\r\n"
        if connected.session_id is not None:
            text += f"mcp-session-id: {connected.session_id}\r\n"
        lines = session.header_lines = text.encode()
    return lines


class _Aside:
    """A POST that nobody waits for."""

    def __init__(self, pool: Pool, request: bytes, running: "set[_Aside]") -> None:
        self._request = request
        self._running = running
        self._connection: BackendConnection | None = None
        running.add(self)
        self._timer = asyncio.get_running_loop().call_later(ASIDE_SECONDS, self._give_up)
        if (connection := pool.take()) is not None:
            self._send(connection)
        else:
            pool.connect(self._send, self.lost)

    def _send(self, connection: BackendConnection) -> None:
        self._connection = connection
        connection.send(self, self._request)

    def _give_up(self) -> None:
        if self._connection is not None:
            self._connection.abort()
        self._running.discard(self)

    def headed(self, status: int, headers: dict[bytes, bytes]) -> None: ...

    def received(self, chunk: bytes) -> None: ...

    def ended(self) -> None:
        self._timer.cancel()
        self._running.discard(self)

    def lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self.ended()
