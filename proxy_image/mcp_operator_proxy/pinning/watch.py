"""Tells of definitions that are not approved, each once: in the log, in metrics, as notices."""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mcp_operator_proxy.config import NoticeType, Server
from mcp_operator_proxy.pinning.visible import visible
from mcp_operator_proxy.report import UnapprovedTool

logger = logging.getLogger(__name__)
Tell = Callable[[NoticeType, str, Mapping[str, str]], None]
"""Takes the type of a notice, its subject and its data."""
KINDS: Final = ("changed", "new", "gone")


class Judged(Protocol):
    """A backend, as far as it matters here."""

    @property
    def server(self) -> Server: ...

    def unapproved(self) -> tuple[UnapprovedTool, ...]: ...


class PinWatch:
    """`look` at a backend whenever its catalogue or its pins have changed."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._told: dict[str, frozenset[tuple[str, str, str]]] = {}

    def look(self, backend: Judged) -> None:
        """Tell what is new of it."""
        server = backend.server
        if server.pinning == "off":
            self._told.pop(server.id, None)
            return
        found = backend.unapproved()
        before = self._told.get(server.id, frozenset())
        self._told[server.id] = frozenset((server.pinning, one.tool, one.digest) for one in found)
        for one in found:
            if (server.pinning, one.tool, one.digest) not in before:
                self._tell_of(server, one)

    def retain(self, servers: Iterable[str]) -> None:
        """Forget all others."""
        kept = set(servers)
        self._told = {server: told for server, told in self._told.items() if server in kept}

    def _tell_of(self, server: Server, one: UnapprovedTool) -> None:
        if one.kind == "gone":
            logger.info("a pinned tool is gone", extra={"server": server.id, "tool": one.tool})
            return
        quarantined = server.pinning == "enforce"
        word = "quarantined" if quarantined else "served all the same"
        logger.warning(
            "a tool's definition is not approved: %s",
            word,
            extra={"server": server.id, "tool": one.tool, "kind": one.kind, "digest": one.digest},
        )
        message = f"the definition of tool {visible(one.tool[:128])} is {one.kind} and not approved: {word}"
        data = {
            "message": message,
            "server": server.id,
            "tool": one.tool,
            "kind": one.kind,
            "digest": one.digest,
            "diff": one.diff,
        }
        self._tell("definition.quarantined" if quarantined else "definition.changed", server.id, data)


class UnapprovedCollector(Collector):
    """How many definitions of each server are not approved, read at each scrape."""

    def __init__(self, reports: Callable[[], Mapping[str, Iterable[UnapprovedTool]]]) -> None:
        self._reports = reports

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "mcp_proxy_unapproved_tools",
            "Tools of servers with pinned definitions whose definition is not approved.",
            labels=["server", "kind"],
        )
        for server, found in self._reports().items():
            kinds = [one.kind for one in found]
            for kind in KINDS:
                family.add_metric([server, kind], kinds.count(kind))
        return [family]
