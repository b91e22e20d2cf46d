"""How often each tool is called, how long it takes and how often it fails, for those who embed the proxy."""

from dataclasses import dataclass
from typing import Final

OK: Final = "ok"


@dataclass(slots=True)
class ToolUsage:
    """Of one tool. Times in seconds."""

    calls: int = 0
    errors: int = 0
    seconds_total: float = 0.0
    seconds_max: float = 0.0
    last_call_at: float = 0.0
    """Seconds since the epoch."""

    def add(self, outcome: str, seconds: float, now: float) -> None:
        """One call has ended at `now` (seconds since the epoch); `outcome` is `ok`, `tool_error` or `error`."""
        self.calls += 1
        if outcome != OK:
            self.errors += 1
        self.seconds_total += seconds
        if seconds > self.seconds_max:  # noqa: PLR1730
            self.seconds_max = seconds
        self.last_call_at = now


class Usage:
    """Counters by server id and the server's own name of the tool."""

    def __init__(self) -> None:
        self.tools: dict[tuple[str, str], ToolUsage] = {}

    def of(self, server: str, tool: str) -> ToolUsage:
        usage = self.tools.get((server, tool))
        if usage is None:
            usage = self.tools[server, tool] = ToolUsage()
        return usage
