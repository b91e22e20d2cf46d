"""What is known of a call before it is sent on: who asks, and how the answer has to look."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.backends.session import BackendSession
from mcp_operator_proxy.fastlane.sink import Sink
from mcp_operator_proxy.services.windows import Window
from mcp_operator_proxy.sessions.session import Session
from mcp_operator_proxy.tracing.context import Carried

if TYPE_CHECKING:
    from mcp_operator_proxy.fastlane.client import Client
    from mcp_operator_proxy.fastlane.route import Route
    from mcp_operator_proxy.state import State


class Head:
    """What holds for every request with the same target and headers, for as long as the state is the same.

    So it may hold nothing that ends by itself, as a session does: those are asked each time. `expires` says when it ends
    itself.
    """

    __slots__ = ("expires", "found", "principal", "route", "session_id", "state", "version")

    def __init__(
        self,
        route: "Route",
        state: "State",
        found: Mapping[bytes, bytes],
        principal: Principal | None,
        version: str | None,
    ) -> None:
        self.route = route
        self.state = state
        self.found = found
        """The headers, their names in lower case."""
        self.principal = principal
        self.expires = principal.expires if principal is not None else None
        """When the caller's token does, in seconds since the epoch; None: not by itself."""
        self.version = version
        """Of the modern era, or None."""
        self.session_id = found.get(b"mcp-session-id", b"")


class Incoming:
    """A request of somebody who may make it, on a route that there is. The last three are of the handshake eras."""

    __slots__ = ("arrived", "backend_session", "carried", "client", "counted", "head", "owner", "session", "sink")

    def __init__(self, head: Head, sink: Sink, client: str | None) -> None:
        self.arrived = time.perf_counter()
        self.head = head
        self.sink = sink
        self.client = client
        """Its address."""
        self.counted: Sequence[Window] = ()
        """Windows of rate limits that the call was added to."""
        self.carried: Carried | None = None
        """The context of a trace that came in its `_meta`."""
        self.owner: Client | None = None
        self.session: Session | None = None
        self.backend_session: BackendSession | None = None

    def enter(self, request_id: bytes, exchange: Any) -> None:
        """The call is in flight: neither the client's session idles, nor the one with the backend."""
        if self.owner is not None and self.session is not None:
            self.session.enter()
            self.owner.calls[request_id] = exchange
            if self.backend_session is not None:
                self.backend_session.borrow()

    def leave(self, request_id: bytes) -> None:
        if self.owner is not None and self.session is not None:
            self.owner.calls.pop(request_id, None)
            self.session.leave()
            if self.backend_session is not None:
                self.backend_session.give_back()


class Side:
    """The client's half of a call: what its era and session say about the answer. Shared by calls that are alike."""

    __slots__ = ("levels", "may_stream", "modern", "session", "stamp", "stamp_member", "token", "version")

    def __init__(
        self,
        *,
        version: str,
        modern: bool,
        session: bytes | None,
        levels: frozenset[str],
        token: bytes | None,
        stamp: dict[str, Any],
        stamp_member: bytes,
        may_stream: bool,
    ) -> None:
        self.version = version
        self.modern = modern
        self.session = session
        self.levels = levels
        """Of log messages that it gets."""
        self.token = token
        """Its progress token, as JSON."""
        self.stamp = stamp
        self.stamp_member = stamp_member
        """What every `_meta` of the modern era gets; empty for the legacy era."""
        self.may_stream = may_stream
        """It cannot be asked anything, so the end of a result need not be known before its beginning is sent on."""
