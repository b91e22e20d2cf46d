"""Tell the clients of a route that its lists or resources changed, in both eras: FastMCP itself broadcasts nothing.

Handshake-era clients hear it on the standing GET stream of their session; a session whose stream is not open at
that moment hears it as soon as it opens one. Clients of the 2026-07-28 era hear it on their `subscriptions/listen`
streams.
"""

import asyncio
import weakref
from collections.abc import Callable
from typing import Final

from mcp.server.connection import Connection
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    PromptsListChanged,
    ResourcesListChanged,
    ServerEvent,
    ToolsListChanged,
)

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.table import Changes
from mcp_operator_proxy.tasks import cancel, spawn

TELL_SECONDS: Final = 5.0
"""A client that does not read its stream is given up on after this time; it never holds up another."""


class Audience:
    """The clients of one route."""

    def __init__(self, has_stream: Callable[[str], bool]) -> None:
        self._has_stream = has_stream
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._principals: weakref.WeakKeyDictionary[Connection, Principal] = weakref.WeakKeyDictionary()
        self._missed: dict[str, Changes] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self.bus = InMemorySubscriptionBus()
        """To the `subscriptions/listen` streams."""

    def __len__(self) -> int:
        return len(self._connections)

    def join(self, connection: Connection, principal: Principal | None = None) -> None:
        """A session has been initialized; it leaves by itself when its connection ends. `principal` is whose it is."""
        if connection in self._connections:
            return
        if principal is not None:
            self._principals[connection] = principal
        self._connections.add(connection)
        connection.exit_stack.callback(self._leave, connection)

    def _leave(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._missed.pop(connection.session_id or "", None)

    def connections(self) -> list[Connection]:
        return list(self._connections)

    async def broadcast(self, changes: Changes) -> None:
        """Tell all clients. Returns at once for handshake-era ones, who are told concurrently."""
        for connection in self.connections():
            self.tell(connection, changes)
        for event in events(changes):
            await self.bus.publish(event)

    def tell_those(self, who: Callable[[Principal], bool], changes: Changes) -> None:
        """Tell the handshake-era clients of some callers."""
        for connection in self.connections():
            if (principal := self._principals.get(connection)) is not None and who(principal):
                self.tell(connection, changes)

    def tell(self, connection: Connection, changes: Changes) -> None:
        """Tell one handshake-era client, at once or when it opens its stream."""
        session_id = connection.session_id or ""
        if self._has_stream(session_id):
            self._tell(connection, changes)
        else:
            self._missed[session_id] = self._missed.get(session_id, Changes()) | changes

    def updated(self, connection: Connection, uri: str) -> None:
        """Tell one handshake-era client that a resource has changed."""
        self.tell(connection, Changes(updated=frozenset({uri})))

    def stream_opened(self, session_id: str) -> None:
        """The session has opened its GET stream: what it missed comes now."""
        changes = self._missed.pop(session_id, None)
        connection = next((c for c in self._connections if c.session_id == session_id), None)
        if changes and connection is not None:
            self._tell(connection, changes)

    def _tell(self, connection: Connection, changes: Changes) -> None:
        spawn(_send(connection, changes), self._telling)

    async def close(self) -> None:
        """Give up on those who are being told."""
        await cancel(self._telling)


def events(changes: Changes) -> list[ServerEvent]:
    """What listen streams are told."""
    made: list[ServerEvent] = []
    if changes.tools:
        made.append(ToolsListChanged())
    if changes.prompts:
        made.append(PromptsListChanged())
    if changes.resources:
        made.append(ResourcesListChanged())
    return made


async def _send(connection: Connection, changes: Changes) -> None:
    try:
        async with asyncio.timeout(TELL_SECONDS):
            if changes.tools:
                await connection.send_tool_list_changed()
            if changes.prompts:
                await connection.send_prompt_list_changed()
            if changes.resources:
                await connection.send_resource_list_changed()
            for uri in sorted(changes.updated):
                await connection.notify("notifications/resources/updated", {"uri": uri})
    except TimeoutError:
        return
