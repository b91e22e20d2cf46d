"""The lists of one route, serialised once for each protocol version."""

from typing import Any, Final

import msgspec
from mcp.shared.exceptions import MCPError

from mcp_operator_proxy.eras.freshness import STALE, Freshness
from mcp_operator_proxy.eras.translate import is_modern
from mcp_operator_proxy.fastlane.results import shown
from mcp_operator_proxy.fastlane.rewrite import LIST_KEYS
from mcp_operator_proxy.table import RouteTable

_STALE: Final = msgspec.json.encode(STALE.wire())[:-1] + b","
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

    def page(
        self, method: str, version: str, cursor: str, stamp: dict[str, Any], freshness: Freshness = STALE
    ) -> bytes | None:
        """The result as JSON; None where the full path has to say what is wrong. `freshness` is for the modern era."""
        if cursor or self._paged:
            return None
        key = (method, version)
        if key not in self._pages:
            self._pages[key] = self._made(method, version, stamp)
        found = self._pages[key]
        if found is None or freshness == STALE:
            return found
        return msgspec.json.encode(freshness.wire())[:-1] + b"," + found[len(_STALE) :]

    def _made(self, method: str, version: str, stamp: dict[str, Any]) -> bytes | None:
        key = LIST_KEYS[method]
        entries = getattr(self._table, _ATTRIBUTES[key]).values()
        try:
            result = shown(method, version, {key: [dict(entry.definition) for entry in entries]}, None, stamp)
        except MCPError:
            return None
        if not is_modern(version):
            return msgspec.json.encode(result)
        rest = {key: value for key, value in result.items() if key not in STALE.wire()}
        return _STALE + msgspec.json.encode(rest)[1:]
