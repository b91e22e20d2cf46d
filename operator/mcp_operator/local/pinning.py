"""Pinned definitions of local mode: the same rules, with a record that lasts as long as the run."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mcp_operator.api import meta
from mcp_operator.api.resources import McpServer
from mcp_operator.conditions.pinning import Pins
from mcp_operator.conditions.server import Health
from mcp_operator.engine.keys import Key
from mcp_operator.reconcile.definitions import look_at_pins


class LocalPins:
    """What stands in a ConfigMap elsewhere, and which approvals were heeded: files are not the operator's to edit."""

    def __init__(self) -> None:
        self._kept: dict[Key, Mapping[str, Any]] = {}
        self._heeded: dict[Key, str] = {}

    def look(self, key: Key, server: McpServer, health: Health | None, now: datetime) -> tuple[Pins | None, bool]:
        """What is to be said of the server's definitions, and whether its record is another now."""
        asked = server.metadata.annotations.get(meta.ANNOTATION_APPROVE, "")
        if asked and asked == self._heeded.get(key):
            server = _without_approval(server)
        work = look_at_pins(server, health, self._kept.get(key), {}, now)
        if work.folded.heeded:
            self._heeded[key] = asked
        self.forget(key)
        for child in work.children:
            self._kept[key] = child
        return work.pins, work.changes(server)

    def forget(self, key: Key) -> None:
        """The server is gone, or nothing of it is recorded."""
        self._kept.pop(key, None)


def _without_approval(server: McpServer) -> McpServer:
    kept = {name: value for name, value in server.metadata.annotations.items() if name != meta.ANNOTATION_APPROVE}
    return server.model_copy(update={"metadata": server.metadata.model_copy(update={"annotations": kept})})
