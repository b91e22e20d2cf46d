"""The lists of one route, serialised once for each protocol version."""

from typing import Any, Final

import msgspec
from mcp.shared.exceptions import MCPError

from mcp_operator_proxy.fastlane.results import shown
from mcp_operator_proxy.fastlane.rewrite import LIST_KEYS
from mcp_operator_proxy.table import RouteTable

_ATTRIBUTES: Final = {
    "tools": "tools",
    "prompts": "prompts",
    "resources": "resources",
    "resourceTemplates": "resource_templates",
}


class Lists:
    """Of one immutable table, so that a page never gets old."""

    def __init__(self, table: RouteTable, *, paged: bool) -> None:
        self._table = table
        self._paged = paged
        self._pages: dict[tuple[str, str], bytes | None] = {}

    def page(self, method: str, version: str, cursor: str, stamp: dict[str, Any]) -> bytes | None:
        """The result as JSON; None where the full path has to say what is wrong."""
        if cursor or self._paged:
            return None
        key = (method, version)
        if key not in self._pages:
            self._pages[key] = self._made(method, version, stamp)
        return self._pages[key]

    def _made(self, method: str, version: str, stamp: dict[str, Any]) -> bytes | None:
        key = LIST_KEYS[method]
        entries = getattr(self._table, _ATTRIBUTES[key]).values()
        try:
            result = shown(method, version, {key: [dict(entry.definition) for entry in entries]}, None, stamp)
        except MCPError:
            return None
        return msgspec.json.encode(result)
