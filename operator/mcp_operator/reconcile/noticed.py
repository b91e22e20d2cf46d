"""Kubernetes Events of what the replicas of a proxy have noticed: each once, however many replicas and operators hear of it."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from mcp_operator.api import meta
from mcp_operator.engine.keys import Key
from mcp_operator.probe.replica import ReplicaState
from mcp_operator_proxy.report import NoticeReport

REASONS: Final = {
    "server.restarted": "ServerRestarted",
    "server.gave-up": "ServerGaveUp",
    "credential.not-refreshed": "CredentialNotRefreshed",
}
"""Of definitions the operator tells itself, as it judges them by the resources."""
FRESH: Final = timedelta(minutes=50)
"""An Event lives for an hour: until then its name says that it has been told, by whatever operator."""
_REMEMBERED: Final = 4096


@dataclass(slots=True)
class Noticed:
    """`tell(about, reason, message, id)` makes an Event; whether its object exists."""

    _told: OrderedDict[tuple[Key, str], None] = field(default_factory=OrderedDict)

    def look(
        self,
        proxy: Key,
        servers: Iterable[str],
        states: Mapping[str, ReplicaState],
        tell: Callable[[Key, str, str, str], bool],
        now: datetime | None = None,
    ) -> None:
        """Tell what is new of a proxy whose configuration has `servers`: of a server on its McpServer, of all else on the McpProxy."""
        known, since = frozenset(servers), (now or datetime.now(UTC)) - FRESH
        for notice in sorted(_all(states), key=lambda notice: (notice.time, notice.id)):
            reason = REASONS.get(notice.type)
            if reason is None or notice.time < since or (proxy, notice.id) in self._told:
                continue
            self._told[proxy, notice.id] = None
            if len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)
            about = _about(notice, known) or proxy
            tell(about, reason, f"McpProxy {proxy.namespace}/{proxy.name}: {_words(notice)}", notice.id)


def _all(states: Mapping[str, ReplicaState]) -> Iterable[NoticeReport]:
    return {notice.id: notice for state in states.values() for notice in state.notices}.values()


def _about(notice: NoticeReport, servers: frozenset[str]) -> Key | None:
    if notice.subject not in servers:
        return None
    namespace, _, name = notice.subject.partition("/")
    return Key(meta.SERVER.kind, namespace, name)


def _words(notice: NoticeReport) -> str:
    return f"{notice.subject}: {notice.message}"
