"""One route as the lane sees it: each thing that it shows, made ready to be called when it is first called."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from mcp.shared.inbound import x_mcp_header_map
from mcp_types import SERVER_INFO_META_KEY

from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.endpoint import Endpoint
from mcp_operator_proxy.eras.uris import Expose
from mcp_operator_proxy.fastlane import lists
from mcp_operator_proxy.fastlane.call import Side
from mcp_operator_proxy.fastlane.meta import ModernMeta
from mcp_operator_proxy.fastlane.rewrite import call_head, header_value
from mcp_operator_proxy.fastlane.upstream import Upstream
from mcp_operator_proxy.table import Entry, RouteTable
from mcp_operator_proxy.tally import Tally
from mcp_operator_proxy.usage import ToolUsage, Usage

if TYPE_CHECKING:
    from mcp_operator_proxy.state import State

MOST: Final = 4096
"""Of what is kept ready; then it begins anew."""
LONG_NAME: Final = 1024
"""Nobody fills the memory with what is found only once."""


class Hot:
    """One thing that a route shows, ready to be called. `tally` is that of its method on the route, `usage` that of a tool."""

    __slots__ = (
        "_lines",
        "body",
        "entry",
        "expose",
        "header_name",
        "method",
        "repeatable",
        "tally",
        "timeout",
        "upstream",
        "usage",
    )

    def __init__(
        self,
        method: str,
        entry: Entry,
        upstream: Upstream,
        expose: Expose | None,
        timeout: float,
        *,
        repeatable: bool,
        tally: Tally,
        usage: ToolUsage | None,
    ) -> None:
        self.method = method
        self.entry = entry
        self.body = call_head(method, entry.name)
        self.header_name = header_value(entry.name)
        self.upstream = upstream
        self.expose = expose
        self.timeout = timeout
        self.repeatable = repeatable
        self.tally = tally
        self.usage = usage
        self._lines = ("", b"")

    def header_lines(self, version: str) -> bytes:
        """Those of a request to a modern server, in that version."""
        if self._lines[0] != version:
            lines = b"mcp-protocol-version: %b\r\nmcp-method: %b\r\nmcp-name: %b\r\n"
            self._lines = version, lines % (version.encode(), self.method.encode(), self.header_name)
        return self._lines[1]


class Route:
    """One route of one state."""

    def __init__(
        self, path: str, table: RouteTable, endpoint: Endpoint, tallies: Mapping[str, Tally], usage: Usage
    ) -> None:
        self.path = path
        self.table = table
        self.endpoint = endpoint
        self.tallies = tallies
        """By method."""
        self.lists = lists.Lists(table)
        self.stamp: dict[str, Any] = endpoint.mcp._mcp_server.server_info_stamp  # noqa: SLF001
        self._stamp_member = msgspec.json.encode(SERVER_INFO_META_KEY) + b":" + msgspec.json.encode(self.stamp)
        self._usage = usage
        self._hot: dict[tuple[str, str], Hot | None] = {}
        self._exposers: dict[str, Expose | None] = {}
        self._sides: dict[ModernMeta, Side] = {}

    def hot(self, method: str, name: str, state: "State", upstream: Callable[[Backend], Upstream]) -> Hot | None:
        """What is called; None where the lane does not call it."""
        key = method, name
        try:
            return self._hot[key]
        except KeyError:
            made = self._made(method, name, state, upstream)
            if len(name) <= LONG_NAME:
                if len(self._hot) >= MOST:
                    self._hot.clear()
                self._hot[key] = made
            return made

    def _made(self, method: str, name: str, state: "State", upstream: Callable[[Backend], Upstream]) -> Hot | None:
        table = self.table
        if method == "resources/read":
            entry = table.resource_entry(name)
            if entry is None:
                return None
        else:
            entry = (table.tools if method == "tools/call" else table.prompts).get(name)
            if entry is None or entry.cache_seconds is not None or _wants_headers(entry):
                return None
        server = entry.server
        backend = state.backends.get(server)
        if backend is None:
            return None
        if server not in self._exposers:
            self._exposers[server] = table.exposer(server)
        tool = entry if method == "tools/call" else None
        return Hot(
            method,
            entry,
            upstream(backend),
            self._exposers[server],
            tool.timeout if tool is not None else backend.call_timeout,
            repeatable=tool.idempotent if tool is not None else True,
            tally=self.tallies[method],
            usage=self._usage.of(server, entry.name) if tool is not None else None,
        )

    def side(self, meta: ModernMeta, token: bytes | None) -> Side:
        """That of a client of the modern era, by the `_meta` of its request."""
        found = self._sides.get(meta) if token is None else None
        if found is None:
            found = Side(
                version=meta.version,
                modern=True,
                session=None,
                levels=meta.levels,
                token=token,
                stamp=self.stamp,
                stamp_member=self._stamp_member,
                may_stream=not meta.asks,
            )
            if token is None:
                if len(self._sides) >= MOST:
                    self._sides.clear()
                self._sides[meta] = found
        return found


def _wants_headers(entry: Entry) -> bool:
    """Whether arguments of the tool have to stand in `Mcp-Param-*` headers too (SEP-2243)."""
    return bool(x_mcp_header_map(entry.definition.get("inputSchema", {})))
