"""Names for what a server lists, by content: operator and proxies give equal definitions one name. Pure."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from mcp_operator_proxy.pinning.definition import TooDeep, canonical


def digest(tools: Iterable[Mapping[str, Any]]) -> str:
    """Name the tools' definitions (see `pinning.definition`) by their content: `sha256:…`. Their order does not count."""
    return digest_of_all(map(_text, tools))


def digest_of_all(definitions: Iterable[str]) -> str:
    """The same of canonical definitions."""
    whole = hashlib.sha256()
    for text in sorted(definitions):
        whole.update(text.encode() + b"\n")
    return f"sha256:{whole.hexdigest()}"


def _text(tool: Mapping[str, Any]) -> str:
    try:
        return canonical(tool)
    except TooDeep:
        return f"too deep: {tool['name']!a}"
