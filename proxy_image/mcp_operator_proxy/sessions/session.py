"""One client's session of the handshake eras, as the process has it that holds it."""

import asyncio
import time
from typing import Final

from mcp.server.connection import Connection
from mcp.server.streamable_http import GET_STREAM_KEY, StreamableHTTPServerTransport
from mcp.server.transport_security import TransportSecuritySettings

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.sessions.ids import MAX_AGE_SECONDS, Ticket

# Host and Origin are checked in front, for all paths and by the config's lists.
SECURITY: Final = TransportSecuritySettings(enable_dns_rebinding_protection=False)


class Session:
    """One client's session, held here."""

    __slots__ = (
        "__weakref__",
        "connection",
        "id",
        "in_flight",
        "issued",
        "last_used",
        "principal",
        "task",
        "ticket",
        "transport",
    )

    connection: Connection
    """Set when it has been started."""
    task: "asyncio.Task[None]"

    def __init__(self, session_id: str, ticket: Ticket, principal: Principal | None) -> None:
        self.id = session_id
        self.ticket = ticket
        self.principal = principal
        self.transport = StreamableHTTPServerTransport(session_id, security_settings=SECURITY)
        self.in_flight = 0
        self.last_used = time.monotonic()

    @property
    def protocol_version(self) -> str:
        """The negotiated one."""
        return self.connection.protocol_version

    def enter(self) -> None:
        """A request is in flight: the session does not idle."""
        self.in_flight += 1

    def leave(self) -> None:
        self.in_flight -= 1
        self.last_used = time.monotonic()

    @property
    def has_stream(self) -> bool:
        """Whether the standing GET stream is open."""
        return GET_STREAM_KEY in self.transport._request_streams  # noqa: SLF001

    def over(self, idle_seconds: float) -> bool:
        """Whether it has idled for too long, or lived for longer than its id."""
        if not self.in_flight:
            idle = time.monotonic() - self.last_used >= idle_seconds
            return idle or time.time() - self.ticket.issued >= MAX_AGE_SECONDS
        only_listens = self.in_flight == 1 and self.has_stream
        return only_listens and time.time() - self.ticket.issued >= MAX_AGE_SECONDS
