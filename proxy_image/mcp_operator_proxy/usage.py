"""How often each tool is called, how long it takes and how often it fails, for those who embed the proxy."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

OK: Final = "ok"
RECENT: Final = 256
"""Calls of one server whose times are kept."""


@dataclass(slots=True)
class ToolUsage:
    """Of one tool. Times in seconds."""

    calls: int = 0
    errors: int = 0
    seconds_total: float = 0.0
    seconds_max: float = 0.0
    last_call_at: float = 0.0
    """Seconds since the epoch."""
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT), repr=False, compare=False)
    """What the newest calls took, of all tools of the server: they share it."""

    def add(self, outcome: str, seconds: float, now: float) -> None:
        """One call has ended at `now` (seconds since the epoch); `outcome` is `ok`, `tool_error` or `error`."""
        self.calls += 1
        if outcome != OK:
            self.errors += 1
        self.seconds_total += seconds
        if seconds > self.seconds_max:  # noqa: PLR1730
            self.seconds_max = seconds
        self.last_call_at = now
        self.recent.append(seconds)


@dataclass(slots=True)
class ServerUsage:
    """Of all tools of one server."""

    calls: int = 0
    errors: int = 0
    recent: deque[float] = field(default_factory=deque)


class Usage:
    """Counters by server id and the server's own name of the tool."""

    def __init__(self) -> None:
        self.tools: dict[tuple[str, str], ToolUsage] = {}
        self._recent: dict[str, deque[float]] = {}

    def of(self, server: str, tool: str) -> ToolUsage:
        usage = self.tools.get((server, tool))
        if usage is None:
            recent = self._recent.setdefault(server, deque(maxlen=RECENT))
            usage = self.tools[server, tool] = ToolUsage(recent=recent)
        return usage

    def by_server(self) -> Mapping[str, ServerUsage]:
        """Of the servers of which some tool has been looked up."""
        found: dict[str, ServerUsage] = {}
        for (server, _), tool in list(self.tools.items()):
            usage = found.get(server)
            if usage is None:
                usage = found[server] = ServerUsage(recent=tool.recent)
            usage.calls += tool.calls
            usage.errors += tool.errors
        return found
