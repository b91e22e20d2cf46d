"""The lists of one route, serialised once for each protocol version and page."""

from typing import Any, Final

import msgspec
from mcp.shared.exceptions import MCPError

from mcp_operator_proxy.eras.freshness import STALE, Freshness
from mcp_operator_proxy.eras.translate import is_modern
from mcp_operator_proxy.fastlane.results import shown
from mcp_operator_proxy.fastlane.rewrite import LIST_KEYS
from mcp_operator_proxy.pages import BadCursor, page
from mcp_operator_proxy.table import RouteTable

_STALE: Final = msgspec.json.encode(STALE.wire())[:-1] + b","
_ATTRIBUTES: Final = {
    "tools": "listed_tools",
    "prompts": "prompts",
    "resources": "resources",
    "resourceTemplates": "resource_templates",
}


class Lists:
    """Of one immutable table, so that a page never gets old."""

    def __init__(self, table: RouteTable) -> None:
        self._table = table
        self._pages: dict[tuple[str, str, str], bytes] = {}
        self._given: set[tuple[str, str]] = {(method, "") for method in LIST_KEYS}
        """Where pages begin, by method, when a list is read from its start: those are kept, others made each time."""

    def page(
        self, method: str, version: str, cursor: str, stamp: dict[str, Any], freshness: Freshness = STALE
    ) -> bytes | None:
        """The result as JSON; None where the full path has to say what is wrong.

        An empty `cursor` is the first page. `freshness` is for the modern era.
        """
        key = (method, version, cursor)
        found = self._pages.get(key)
        if found is None:
            found = self._made(method, version, cursor, stamp)
            if found is None:
                return None
            if (method, cursor) in self._given:
                self._pages[key] = found
        if freshness == STALE or not is_modern(version):
            return found
        return msgspec.json.encode(freshness.wire())[:-1] + b"," + found[len(_STALE) :]

    def _made(self, method: str, version: str, cursor: str, stamp: dict[str, Any]) -> bytes | None:
        key = LIST_KEYS[method]
        try:
            found, following = page(getattr(self._table, _ATTRIBUTES[key]), cursor or None, self._table.page_size)
            listed: dict[str, Any] = {key: [dict(entry.definition) for entry in found]}
            if following is not None:
                listed["nextCursor"] = following
                if (method, cursor) in self._given:
                    self._given.add((method, following))
            result = shown(method, version, listed, None, stamp)
        except (BadCursor, MCPError):
            return None
        if not is_modern(version):
            return msgspec.json.encode(result)
        rest = {key: value for key, value in result.items() if key not in STALE.wire()}
        return _STALE + msgspec.json.encode(rest)[1:]
