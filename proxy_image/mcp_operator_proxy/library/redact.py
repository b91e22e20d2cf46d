"""A config as it may be shown: as it was written, without what may be a credential. Pure.

References such as `${TOKEN}` stay, as they are no secret. Values of headers and of the environment, passwords and
query values in URLs, and arguments that look like credentials become `***`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from mcp_operator_proxy.library.expand import is_reference

HIDDEN: Final = "***"
_SECRETIVE: Final = re.compile(r"(?i)(key|token|secret|passw|credential|auth)")
_OPTION: Final = re.compile(r"(?s)(--?[\w.-]+|[A-Za-z_]\w*)=(.+)")


def redacted(data: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a config in either form."""
    return {
        key: {name: _server(server) for name, server in value.items()}
        if key in ("mcpServers", "servers") and isinstance(value, Mapping)
        else value
        for key, value in data.items()
        if key in ("mcpServers", "servers", "proxy")
    }


def _server(server: Any) -> Any:
    if not isinstance(server, Mapping):
        return server
    shown = dict(server)
    for key in ("env", "headers"):
        if isinstance(shown.get(key), Mapping):
            shown[key] = {name: _value(value) for name, value in shown[key].items()}
    if isinstance(shown.get("url"), str):
        shown["url"] = url(shown["url"])
    if isinstance(shown.get("args"), list):
        shown["args"] = _arguments(shown["args"])
    return shown


def _value(value: Any) -> Any:
    return value if isinstance(value, str) and is_reference(value) else HIDDEN


def _arguments(arguments: list[Any]) -> list[Any]:
    shown: list[Any] = []
    follows = False
    for argument in arguments:
        text = str(argument)
        match = _OPTION.fullmatch(text)
        if follows and not text.startswith("-"):
            shown.append(_value(argument))
        elif match and _SECRETIVE.search(match[1]):
            shown.append(f"{match[1]}={_value(match[2])}")
        elif _SECRETIVE.search(text.partition(":")[0]) and ":" in text and "://" not in text:  # a header
            name, _, value = text.partition(":")
            shown.append(f"{name}: {_value(value.strip())}")
        else:
            shown.append(url(text) if "://" in text else argument)
        follows = text.startswith("-") and "=" not in text and bool(_SECRETIVE.search(text))
    return shown


def url(text: str) -> str:
    """A URL without its password and the values of its query."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return HIDDEN
    netloc = parts.netloc
    if "@" in netloc:
        user, _, host = netloc.rpartition("@")
        name, colon, _ = user.partition(":")
        netloc = f"{name}{colon}{HIDDEN if colon else ''}@{host}"
    query = urlencode([(k, _value(v)) for k, v in parse_qsl(parts.query, keep_blank_values=True)], safe="*${}:")
    return urlunsplit((parts.scheme, netloc, parts.path, query, ""))
