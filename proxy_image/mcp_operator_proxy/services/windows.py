"""Rate limits counted in this process: moving windows, at the cost of a few look-ups a call and without any I/O."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.config import RateLimit

SECONDS: Final = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
SLOTS: Final = 1000
"""A window remembers at most so many moments: calls near each other leave it together, with the last of them."""
SWEEP_EVERY: Final = 4096
"""New windows, after which those that have emptied are forgotten."""
Key = tuple[str | None, ...]


@dataclass(frozen=True)
class Call:
    """What is counted: who calls which tool (the server's own name) of which server, on which route."""

    principal: Principal | None
    tool: str
    server: str
    route: str | None


@dataclass(frozen=True)
class Limited:
    """A call that is one too many. `seconds` until the limit has room again."""

    limit: str
    seconds: float

    @property
    def retry_after(self) -> int:
        """Whole seconds, as `Retry-After` has them."""
        return max(1, int(-(-self.seconds // 1)))


class Window:
    """Calls in the last `seconds`; at most `amount` may be."""

    __slots__ = ("_slots", "_width", "amount", "count", "seconds")

    def __init__(self, amount: int, seconds: float) -> None:
        self.amount = amount
        self.seconds = seconds
        self.count = 0
        self._width = seconds / SLOTS if amount > SLOTS else 0.0
        self._slots: deque[list[float]] = deque()
        """First and last moment of a slot, and its calls."""

    def full_for(self, now: float) -> float:
        """Seconds until there is room; 0 where there is."""
        slots, since = self._slots, now - self.seconds
        while slots and slots[0][1] <= since:
            self.count -= int(slots.popleft()[2])
        return 0.0 if self.count < self.amount else max(slots[0][1] - since, 0.001)

    def add(self, now: float) -> None:
        self.count += 1
        if self._slots and now - (slot := self._slots[-1])[0] <= self._width:
            slot[1] = now
            slot[2] += 1
        else:
            self._slots.append([now, now, 1])

    def take_back(self) -> None:
        """The newest call was none."""
        if self._slots:
            self.count -= 1
            slot = self._slots[-1]
            slot[2] -= 1
            if not slot[2]:
                self._slots.pop()


class Rule:
    """One limit of the configuration."""

    def __init__(self, limit: RateLimit) -> None:
        self.name = limit.name
        amount, _, unit = limit.limit.partition("/")
        self.amount, self.seconds = int(amount), SECONDS[unit]
        self._per = limit.per
        self._tools, self._servers = limit.tools, limit.servers
        self._all = limit.tools == "*" and limit.servers == "*"

    def matches(self, tool: str, server: str) -> bool:
        return self._all or (fnmatchcase(tool, self._tools) and fnmatchcase(server, self._servers))

    def key(self, call: Call) -> Key:
        """What is counted together; None stands for what the limit does not tell apart, and for nobody."""
        found: list[str | None] = [self.name]
        for part in self._per:
            if part == "caller":
                found.append(call.principal.key if call.principal else None)
            elif part == "tool":
                found += [call.server, call.tool]
            else:
                found.append(call.server if part == "server" else call.route)
        return tuple(found)


class Windows:
    """The windows of all limits. `clock` counts seconds."""

    def __init__(self, limits: tuple[RateLimit, ...], clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.rules = [Rule(limit) for limit in limits]
        self._clock = clock
        self._windows: dict[Key, Window] = {}
        self._matching: dict[tuple[str, str], list[Rule]] = {}
        self._new = 0

    def __len__(self) -> int:
        return len(self._windows)

    def matching(self, call: Call) -> list[Rule]:
        """The limits that hold for a call."""
        key = call.server, call.tool
        found = self._matching.get(key)
        if found is None:
            if len(self._matching) >= SWEEP_EVERY:
                self._matching.clear()
            found = self._matching[key] = [rule for rule in self.rules if rule.matches(call.tool, call.server)]
        return found

    def room(self, call: Call) -> "list[Window] | Limited":
        """The windows that the call is to be added to by `add`; or the limit that has no room. Nothing is counted yet."""
        now, found = self._clock(), []
        for rule in self.matching(call):
            window = self._window(rule, rule.key(call))
            if seconds := window.full_for(now):
                return Limited(rule.name, seconds)
            found.append(window)
        return found

    def add(self, windows: list[Window]) -> None:
        now = self._clock()
        for window in windows:
            window.add(now)

    def _window(self, rule: Rule, key: Key) -> Window:
        window = self._windows.get(key)
        if window is None:
            self._new += 1
            if self._new >= SWEEP_EVERY:
                self._sweep()
            window = self._windows[key] = Window(rule.amount, rule.seconds)
        return window

    def _sweep(self) -> None:
        now, self._new = self._clock(), 0
        for window in self._windows.values():
            window.full_for(now)
        self._windows = {key: window for key, window in self._windows.items() if window.count}
