"""What is shown: for every kind the printer columns of its CRD, so that it reads as `kubectl get` does. Pure."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from mcp_operator.api import meta
from mcp_operator.api.crd.definitions import COLUMNS, Column
from mcp_operator.engine.keys import Key
from mcp_operator.local.manifests import Diagnostic

_STEP: Final = re.compile(r"\.([A-Za-z]+)|\[\?\(@\.([a-z]+)==\"([A-Za-z]+)\"\)\]")
_AGE: Final = "Age"
_WIDE: Final = frozenset({"Reason", "Message"})
_KEY: Final = {"headers": {"X-API-Key": "<your key>"}}


@dataclass(frozen=True, slots=True)
class Row:
    """One resource. `cells` are by column, without the age, which `created` gives."""

    key: Key
    cells: Mapping[str, str]
    created: datetime | None

    @property
    def ready(self) -> str:
        return self.cells["Ready"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An MCP endpoint of a proxy; `name` is unique. `keyed`: nobody comes in without an API key."""

    name: str
    url: str
    keyed: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """All that is shown at a moment."""

    rows: tuple[Row, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()

    def of(self, kind: str) -> list[Row]:
        return [row for row in self.rows if row.key.kind == kind]


def columns(kind: str) -> list[Column]:
    """The columns of `kubectl get`, the age before them all as reasons are long, and of the wide ones reason and message."""
    shown_here = (column for column in COLUMNS[kind] if not column.wide or column.name in _WIDE)
    return sorted(shown_here, key=lambda column: column.wide)


def row(key: Key, status: Mapping[str, Any], created: datetime | None) -> Row:
    """A resource's row. A column without a value is empty."""
    body = {"status": status}
    cells = {column.name: shown(look(body, column.path)) for column in columns(key.kind) if column.name != _AGE}
    return Row(key, cells, created)


def look(body: Any, path: str) -> Any:
    """Value at a JSONPath of the printer columns (`.a.b`, `[?(@.type=="X")]`); None where there is none."""
    for match in _STEP.finditer(path):
        field, key, value = match.groups()
        if field is not None:
            body = body.get(field) if isinstance(body, Mapping) else None
        else:
            body = next((item for item in body or () if item.get(key) == value), None)
    return body


def shown(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def age(created: datetime | None, now: datetime) -> str:
    """As `kubectl` shows it: `42s`, `3m20s`, `5h`, `12d`."""
    if created is None:
        return ""
    seconds = max(0, int((now - created).total_seconds()))
    if seconds < 120:
        return f"{seconds}s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 10:
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    return f"{hours}h" if hours < 48 else f"{hours // 24}d"


def client_config(endpoints: Iterable[Endpoint]) -> str:
    """The endpoints as MCP clients want them in their configuration file, with a place for the key where one is asked for."""
    servers = {
        endpoint.name: {"type": "http", "url": endpoint.url, **(_KEY if endpoint.keyed else {})}
        for endpoint in endpoints
    }
    return json.dumps({"mcpServers": servers}, indent=2)


def endpoints_of(
    proxy: Key, base: str, own_path: str, paths: Iterable[str], *, qualified: bool, keyed: bool = False
) -> list[Endpoint]:
    """A proxy's endpoints: its own path under its name, the others named after their paths as well."""
    stem = f"{proxy.namespace}-{proxy.name}" if qualified else proxy.name
    found = []
    for path in sorted(paths, key=lambda path: (path != own_path, path)):
        words = [word for word in path.split("/") if word and word != "mcp"]
        name = stem if path == own_path else "-".join([stem, *words])
        found.append(Endpoint(name, base + path, keyed))
    return found


KINDS: Final = tuple(kind.kind for kind in (meta.PROXY, meta.SERVER, meta.ROUTE))
"""In the order of their showing."""
