"""How often each tool is called, how its calls end and how long they take: for metrics, and for those who embed the proxy.

Adding a call costs next to nothing, as the fast lane does it for each; metrics are made of it when somebody scrapes.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from mcp_operator_proxy.tally import BUCKETS

Status: TypeAlias = Literal[
    "ok", "tool_error", "error", "timeout", "cancelled", "denied", "limited", "refused", "unfinished"
]
"""How a call of a tool can end:

- `ok`: with a result, also with one from memory
- `tool_error`: with a result that says that the tool failed
- `error`: the server answered with a JSON-RPC error, or there was no proper answer
- `timeout`: no answer in time
- `cancelled`: the client cancelled it, or went away

and, without having been made or without an end yet:

- `denied`: no policy permits it
- `limited`: a rate limit has no room for it
- `refused`: not sent: the circuit is open, no place became free in time, the tool is quarantined, its arguments do not fit
- `unfinished`: the tool asks its user something first, after which the call comes again, or it goes on as a task
"""
STATUSES: Final[tuple[Status, ...]] = (
    "ok",
    "tool_error",
    "error",
    "timeout",
    "cancelled",
    "denied",
    "limited",
    "refused",
    "unfinished",
)
RECENT: Final = 256
"""Calls of one server whose times are kept."""
UNTIMED: Final[frozenset[Status]] = frozenset({"denied", "limited", "refused", "unfinished"})
"""Their seconds say nothing of the tool."""
_FINE: Final[tuple[Status, ...]] = ("ok", "unfinished")


class ToolUsage:
    """Of one tool. Times in seconds, of the calls whose status is not among `UNTIMED`."""

    __slots__ = ("buckets", "last_call_at", "recent", "seconds_max", "seconds_total", "statuses")

    def __init__(self, recent: deque[float] | None = None) -> None:
        """`recent` is what the newest calls took, of all tools of the server: they share it."""
        self.recent = deque[float](maxlen=RECENT) if recent is None else recent
        self.statuses: dict[Status, int] = {}
        self.buckets = [0] * (len(BUCKETS) + 1)
        """Times by the upper bounds of `tally.BUCKETS`, and those beyond."""
        self.seconds_total = 0.0
        self.seconds_max = 0.0
        self.last_call_at = 0.0
        """Seconds since the epoch."""

    def add(self, status: Status, seconds: float, now: float) -> None:
        """One call that was made has ended at `now` (seconds since the epoch)."""
        statuses = self.statuses
        statuses[status] = statuses.get(status, 0) + 1
        self.buckets[bisect_left(BUCKETS, seconds)] += 1
        self.seconds_total += seconds
        if seconds > self.seconds_max:  # noqa: PLR1730
            self.seconds_max = seconds
        self.last_call_at = now
        self.recent.append(seconds)

    def add_many(self, took: Sequence[float], places: Sequence[tuple[int, int]], total: float, now: float) -> None:
        """Calls that were `ok`, the last one at `now`: their times, how many are in which of the buckets, their sum."""
        self.statuses["ok"] = self.statuses.get("ok", 0) + len(took)
        for place, number in places:
            self.buckets[place] += number
        self.seconds_total += total
        self.seconds_max = max(self.seconds_max, *took)
        self.last_call_at = now
        self.recent.extend(took)

    def record(self, status: Status, seconds: float, now: float) -> None:
        """One call has ended, whichever way."""
        if status in UNTIMED:
            self.statuses[status] = self.statuses.get(status, 0) + 1
            self.last_call_at = now
        else:
            self.add(status, seconds, now)

    def take_in(self, other: "ToolUsage") -> None:
        """Add what another one has counted."""
        for status, count in list(other.statuses.items()):
            self.statuses[status] = self.statuses.get(status, 0) + count
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]
        self.seconds_total += other.seconds_total
        self.seconds_max = max(self.seconds_max, other.seconds_max)
        self.last_call_at = max(self.last_call_at, other.last_call_at)

    @property
    def calls(self) -> int:
        return sum(list(self.statuses.values()))

    @property
    def errors(self) -> int:
        return self.calls - sum(self.statuses.get(status, 0) for status in _FINE)


@dataclass(slots=True)
class ServerUsage:
    """Of all tools of one server."""

    calls: int = 0
    errors: int = 0
    recent: deque[float] = field(default_factory=deque)


def _nothing() -> None: ...


class Usage:
    """Counters by server id and the server's own name of the tool. Only tools that some route has are counted."""

    def __init__(self) -> None:
        self.tools: dict[tuple[str, str], ToolUsage] = {}
        self._recent: dict[str, deque[float]] = {}
        self.settle: Callable[[], None] = _nothing
        """Counts what has been gathered and not counted yet, where it is called in the event loop's thread."""

    def of(self, server: str, tool: str) -> ToolUsage:
        usage = self.tools.get((server, tool))
        if usage is None:
            recent = self._recent.setdefault(server, deque(maxlen=RECENT))
            usage = self.tools[server, tool] = ToolUsage(recent)
        return usage

    def by_server(self) -> Mapping[str, ServerUsage]:
        """Of the servers of which some tool has been looked up."""
        self.settle()
        found: dict[str, ServerUsage] = {}
        for (server, _), tool in list(self.tools.items()):
            usage = found.get(server)
            if usage is None:
                usage = found[server] = ServerUsage(recent=tool.recent)
            usage.calls += tool.calls
            usage.errors += tool.errors
        return found
