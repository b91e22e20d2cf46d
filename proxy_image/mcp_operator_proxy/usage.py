"""How often each tool is called, how long it takes and how often it fails, for those who embed the proxy."""

import time
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


class Usage:
    """Counters by server id and the server's own name of the tool."""

    def __init__(self) -> None:
        self.tools: dict[tuple[str, str], ToolUsage] = {}

    def record(self, server: str, tool: str, outcome: str, seconds: float) -> None:
        """One call has ended; `outcome` is `ok`, `tool_error` or `error`."""
        usage = self.tools.get((server, tool))
        if usage is None:
            usage = self.tools[server, tool] = ToolUsage()
        usage.calls += 1
        usage.errors += outcome != OK
        usage.seconds_total += seconds
        usage.seconds_max = max(usage.seconds_max, seconds)
        usage.last_call_at = time.time()
