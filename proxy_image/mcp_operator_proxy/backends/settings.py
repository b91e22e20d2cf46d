"""How calls of one tool are treated: the server's settings for it, merged. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from mcp_operator_proxy.config import Server


@dataclass(frozen=True, slots=True)
class CallSettings:
    """Of one tool. Times are in seconds."""

    timeout: float = 30.0
    idempotent: bool = False
    """A call may be repeated when its connection broke."""
    cache_seconds: float | None = None
    """Equal calls of one caller are answered from memory for this long; None: never."""


UNKNOWN: Final = CallSettings()
"""Of a server that no config defines."""


def settings_for(server: Server | None, tool: str, annotations: Mapping[str, Any] | None = None) -> CallSettings:
    """The settings of `tool` (the server's own name). Of several `server.tools` that match it the first that sets a field decides it.

    Where none says whether it is idempotent, its `annotations` do: `readOnlyHint`, `idempotentHint`.
    """
    matching = [entry for entry in server.tools if fnmatchcase(tool, entry.name)] if server else []
    default = server.call_timeout_seconds if server else UNKNOWN.timeout
    timeout = next((e.call_timeout_seconds for e in matching if e.call_timeout_seconds is not None), None)
    idempotent = next((e.idempotent for e in matching if e.idempotent is not None), None)
    hints = annotations if isinstance(annotations, Mapping) else {}
    return CallSettings(
        timeout=default if timeout is None else timeout,
        idempotent=hints.get("readOnlyHint") is True or hints.get("idempotentHint") is True
        if idempotent is None
        else idempotent,
        cache_seconds=next((e.cache_seconds for e in matching if e.cache_seconds is not None), None),
    )
