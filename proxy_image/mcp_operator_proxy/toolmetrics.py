"""Metrics of the calls of tools, made of their usage at each scrape, in whichever thread renders it.

A tool's label is its id, as REST has it. What is no tool of any route has none, whatever clients call; a tool that goes takes
its series along.
"""

import itertools
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from mcp_operator_proxy.registry.listing import server_labels, tool_ids
from mcp_operator_proxy.tally import BOUNDS
from mcp_operator_proxy.usage import ToolUsage, Usage

if TYPE_CHECKING:
    from mcp_operator_proxy.state import State

MOST_TOOLS: Final = 2_000
"""Tools with series of their own in one process; those that are called later are counted together."""
LONGEST: Final = 256
"""Characters of an id that is a label."""
OTHER: Final = "other"
REMEMBERED: Final = 1_000
"""Tools that are no more whose counts are kept, as they may come back."""
Own = tuple[str, str]
"""Server id and the server's own name of a tool."""
_EXECUTIONS: Final = ("mcp_tool_executions", "Calls of tools, by how they ended.")
_SECONDS: Final = (
    "mcp_tool_execution_duration_seconds",
    "Time of those calls of tools that were made and have ended.",
)


class ToolIds:
    """What the tools of a state are called, worked out once for each."""

    def __init__(self) -> None:
        self._made: tuple[State | None, Mapping[Own, str], Mapping[str, str]] = (None, {}, {})

    def of(self, state: "State | None", tools: Iterable[Own]) -> dict[Own, str]:
        """Ids of those of `tools` that some route has, be it for some user only, or quarantined."""
        if state is None:
            return {}
        before, ids, labels = self._made
        if before is not state:
            ids = tool_ids(state.config, {path: table.tools for path, table in state.table.items()})
            labels = server_labels(state.config)
            self._made = state, ids, labels
        held = {(e.server, e.name) for table in state.table.values() for e in table.quarantined.values()}
        found: dict[Own, str] = {}
        for own in tools:
            known = ids.get(own)
            if known is None and (own in held or own[0] in state.personal):
                known = f"{labels.get(own[0], own[0])}.{own[1]}"
            if known is not None:
                found[own] = known if len(known) <= LONGEST and known.isprintable() else OTHER
        return found


class ExecutionsCollector(Collector):
    """Of `usage`. What has got series of its own keeps them for as long as the tool is there."""

    def __init__(self, usage: Usage, state: "Callable[[], State | None]", *, most: int = MOST_TOOLS) -> None:
        self._usage = usage
        self._state = state
        self._most = most
        self._ids = ToolIds()
        self._own: set[Own] = set()
        self._together: set[Own] = set()
        self._gone = ToolUsage()
        """What was counted of tools without series of their own that are forgotten: their sum does not fall."""
        self._lock = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        return [CounterMetricFamily(*_EXECUTIONS), HistogramMetricFamily(*_SECONDS)]

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            return self._families(self._counted())

    def _counted(self) -> dict[str, ToolUsage]:
        """By label."""
        self._usage.settle()
        usage = dict(self._usage.tools)
        ids = self._ids.of(self._state(), usage)
        self._forget(usage, ids)
        found: dict[str, ToolUsage] = {}
        together = ToolUsage()
        together.take_in(self._gone)
        for own, label in ids.items():
            if label != OTHER and own not in self._together and (own in self._own or len(self._own) < self._most):
                self._own.add(own)
                if label not in found:
                    found[label] = usage[own]
                    continue
            else:
                self._own.discard(own)
                self._together.add(own)
            together.take_in(usage[own])
        if together.statuses:
            found[OTHER] = together
        return found

    def _forget(self, usage: Mapping[Own, ToolUsage], ids: Mapping[Own, str]) -> None:
        for own in self._together - ids.keys():
            self._together.discard(own)
            if own in usage:
                self._gone.take_in(usage[own])
                self._usage.tools.pop(own, None)
        self._own &= ids.keys()
        gone = [own for own in usage if own not in ids]
        if len(gone) > REMEMBERED:
            for own in gone:
                self._usage.tools.pop(own, None)

    def _families(self, counted: Mapping[str, ToolUsage]) -> list[Metric]:
        executions = CounterMetricFamily(*_EXECUTIONS, labels=["tool_id", "status"])
        seconds = HistogramMetricFamily(*_SECONDS, labels=["tool_id"])
        for label, usage in counted.items():
            for status, count in list(usage.statuses.items()):
                executions.add_metric([label, status], count)
            sums = list(itertools.accumulate(usage.buckets))
            if sums[-1]:
                bounds = list(zip(BOUNDS, map(float, sums), strict=True))
                seconds.add_metric([label], bounds, usage.seconds_total)
        return [executions, seconds]
