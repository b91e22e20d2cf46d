"""What one probe found. Pure: no MCP library is imported here."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from mcp_operator_proxy.pinning.definition import TooDeep, canonical
from mcp_operator_proxy.report import ErrorReport

MAX_NAME: Final = 1024
"""Longest name or version that is kept, in characters: what a status may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a server said of itself. Equal facts mean that nothing changed which a client could see in its lists."""

    protocol_version: str
    transport: Literal["streamable-http", "sse"]
    server_name: str = ""
    """Empty where the server did not introduce itself, which the 2026-07-28 protocol allows."""
    server_version: str = ""
    tools: tuple[str, ...] = ()
    """Their names, sorted."""
    digest: str = ""
    """`sha256:…` over the tools' definitions, see `mcp_operator_proxy.backends.digest`."""
    definitions: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)
    """Name and canonical definition of each tool, in the server's order; None where they are not kept."""
    prompts: int = 0
    resources: int = 0
    resource_templates: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """Exactly one of `facts` and `error` is set."""

    time: datetime
    """When the probe ended, in UTC."""
    seconds: float
    """How long handshake and listing took, or how long it took to fail."""
    facts: ServerFacts | None = None
    error: ErrorReport | None = None

    def __post_init__(self) -> None:
        if (self.facts is None) == (self.error is None):
            raise ValueError("a probe has either found facts or an error")

    @property
    def ok(self) -> bool:
        return self.error is None


def definitions(tools: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """Names and canonical definitions. One that is nested too deep to have any is left out: no proxy serves it either."""
    found = []
    for tool in tools:
        with suppress(TooDeep):
            found.append((str(tool["name"]), canonical(tool)))
    return tuple(found)


def tool_names(tools: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(sorted(clip(tool["name"]) for tool in tools))


def clip(text: str | None) -> str:
    """Text of a server as a status may hold it: at most `MAX_NAME` characters, none of them a control character."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in (text or "")[:MAX_NAME])
