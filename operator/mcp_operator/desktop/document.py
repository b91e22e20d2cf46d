"""The file itself: JSON as editors keep it (comments, commas too many), and where in it the servers stand. Pure."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_TOKEN: Final = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/|,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[}\]])', re.DOTALL)
_PLACES: Final = (
    ("mcpServers",),
    ("servers",),
    ("mcp", "servers"),
    ("mcp", "mcpServers"),
    ("context_servers",),
)
"""Where clients keep their servers: most desktop clients; `mcp.json` and settings of VS Code; Zed."""


class NotReadable(ValueError):
    """The file holds no servers. The message says why, and nothing of what stands in it."""


def read(content: bytes) -> dict[str, Any]:
    """The entries of a client's file by name, in its order. Raises NotReadable."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotReadable(f"not UTF-8 text (byte {error.start})") from None
    try:
        data = json.loads(_TOKEN.sub(_plain, text))
    except json.JSONDecodeError as error:
        raise NotReadable(f"not JSON: {error.msg} (line {error.lineno})") from None
    except RecursionError:
        raise NotReadable("nested too deep") from None
    if not isinstance(data, dict):
        raise NotReadable("not an object: the file of a client holds mcpServers")
    for place in _PLACES:
        servers = _look(data, place)
        if servers is None:
            continue
        if not isinstance(servers, dict):
            raise NotReadable(f"{'.'.join(place)} is not an object with one entry for each server, by its name")
        return servers
    if "command" in data or "url" in data:
        raise NotReadable('holds one server alone: write {"mcpServers": {"NAME": {…}}}')
    raise NotReadable("holds no mcpServers (nor servers, as VS Code writes it)")


def _plain(match: re.Match[str]) -> str:
    """Strings stay; of a comment stay its lines, so that errors name the right one; a comma too many goes."""
    token = match[0]
    return token if token[0] == '"' else "\n" * token.count("\n")


def _look(data: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    found: Any = data
    for key in place:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
