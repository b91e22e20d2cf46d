"""Which tools the routes show, each once, under the ids that REST and search know them by. Pure."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from mcp_operator_proxy.config import ProxyConfig, Server
from mcp_operator_proxy.registry.documents import ToolDocument
from mcp_operator_proxy.table import Entry

LONGEST_CATEGORY: Final = 128
"""Characters; what a server gives beyond them is no category."""
Shown = Mapping[str, Mapping[str, Entry]]
"""Tools by the path of their route and the name that it shows, in the order of the configuration."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A tool and where it is called: `entry` is what the route at `path` has of it. `document.name` is its name there."""

    document: ToolDocument
    path: str
    entry: Entry = field(repr=False)

    @property
    def server(self) -> str:
        """Id of its server: `namespace/name`."""
        return self.entry.server


@dataclass(frozen=True)
class Listing:
    """All tools by their ids; of one that several routes show, the first route's."""

    tools: Mapping[str, Registered] = field(default_factory=dict)
    ids: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """By server id and the server's own name of the tool."""
    places: Mapping[int, Registered] = field(default_factory=dict, repr=False)
    """By the identity of the route's entry, which they keep alive."""


def listing(config: ProxyConfig, shown: Shown, whole: Listing | None = None) -> Listing:
    """What `shown` has. `whole` is that of all routes, for a part of which the ids are the same."""
    servers = {server.id: server for server in config.servers}
    labels = _labels(servers)
    tools: dict[str, Registered] = {}
    ids: dict[tuple[str, str], str] = {}
    places: dict[int, Registered] = {}
    taken = set(whole.tools) if whole is not None else set()
    for path, name, entry in _entries(shown):
        own = (entry.server, entry.name)
        if own in ids:
            continue
        found = whole.places.get(id(entry)) if whole is not None else None
        tool_id = whole.ids.get(own) if whole is not None else None
        label = labels.get(entry.server, entry.server)
        if tool_id is None:
            tool_id = _free(f"{label}.{entry.name}", taken)
            taken.add(tool_id)
        if found is None or found.entry is not entry or found.document.id != tool_id:
            found = Registered(_document(tool_id, label, name, entry, servers.get(entry.server)), path, entry)
        ids[own], tools[tool_id], places[id(entry)] = tool_id, found, found
    return Listing(tools, ids, places)


def tool_ids(config: ProxyConfig, shown: Shown) -> dict[tuple[str, str], str]:
    """The `ids` of `listing`, without all the rest."""
    labels = server_labels(config)
    ids: dict[tuple[str, str], str] = {}
    taken: set[str] = set()
    for _, _, entry in _entries(shown):
        own = (entry.server, entry.name)
        if own not in ids:
            tool_id = ids[own] = _free(f"{labels.get(entry.server, entry.server)}.{entry.name}", taken)
            taken.add(tool_id)
    return ids


def server_labels(config: ProxyConfig) -> dict[str, str]:
    """What servers are called in the ids of their tools."""
    return _labels([server.id for server in config.servers])


def _entries(shown: Shown) -> Iterator[tuple[str, str, Entry]]:
    for path, tools in shown.items():
        for name, entry in tools.items():
            yield path, name, entry


def _labels(servers: Collection[str]) -> dict[str, str]:
    """The server's part of an id: its name, or `namespace/name` where two namespaces have the name."""
    names = Counter(server.partition("/")[2] for server in servers)
    return {server: name if names[name := server.partition("/")[2]] == 1 else server for server in servers}


def _free(tool_id: str, taken: set[str]) -> str:
    """`a.b` with `c` and `a` with `b.c` would be one id: the later one gets a mark."""
    while tool_id in taken:
        tool_id += "~"
    return tool_id


def _document(tool_id: str, label: str, name: str, entry: Entry, server: Server | None) -> ToolDocument:
    definition = entry.definition
    schema = definition.get("inputSchema")
    annotations = definition.get("annotations")
    title = definition.get("title") or (annotations.get("title") if isinstance(annotations, Mapping) else None)
    return ToolDocument(
        id=tool_id,
        server=label,
        name=name,
        description=_text(definition.get("description")),
        title=_text(title),
        parameters=schema if isinstance(schema, Mapping) else {},
        category=category(server, entry.name, definition),
    )


def category(server: Server | None, own: str, definition: Mapping[str, Any]) -> str:
    """What the configuration says of the tool, or of its server; else `category` in the tool's `_meta` (any prefix)."""
    if server is not None:
        said = next((s.category for s in server.tools if s.category is not None and fnmatchcase(own, s.name)), None)
        if said is not None or server.category:
            return said if said is not None else server.category
    meta = definition.get("_meta")
    for key, value in meta.items() if isinstance(meta, Mapping) else ():
        named = isinstance(key, str) and key.rpartition("/")[2] == "category"
        if named and isinstance(value, str) and len(value) <= LONGEST_CATEGORY:
            return value
    return ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
