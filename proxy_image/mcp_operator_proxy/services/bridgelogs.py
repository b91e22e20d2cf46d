"""What servers behind bridges wrote to standard error, for operators who ask. Nothing is asked before, and nothing kept.

Whoever asks this checks first that the caller is an operator: the lines may hold what users sent.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mcp_operator_proxy.backends.bridgelogs import BridgeLogs, NoLogs, fetch
from mcp_operator_proxy.backends.resolved import ResolvedServer
from mcp_operator_proxy.bridge.stderr import LINES, LogLine
from mcp_operator_proxy.report import ProcessReport
from mcp_operator_proxy.tasks import cancel

if TYPE_CHECKING:
    from mcp_operator_proxy.swap.prepared import Prepared

FEW: Final = 200
"""Who wants no more shares a request for so many."""


@dataclass(frozen=True, slots=True)
class Found:
    """`elsewhere`: there are no lines; why, and where else they are."""

    process: ProcessReport | None = None
    lines: tuple[LogLine, ...] = ()
    elsewhere: str | None = None


class BridgesLogs:
    """Callers who want those of one server at the same time share a request."""

    def __init__(self) -> None:
        self._servers: Mapping[str, ResolvedServer] = {}
        self._asking: dict[tuple[str, int], asyncio.Task[Found]] = {}

    def use(self, prepared: "Prepared") -> None:
        self._servers = prepared.resolved

    async def close(self) -> None:
        await cancel(list(self._asking.values()))

    async def of(self, server_id: str, lines: int) -> Found | None:
        """The newest lines; None of a server whose logs are not known to be anywhere."""
        resolved = self._servers.get(server_id)
        if resolved is None or resolved.server.logs is None:
            return None
        if resolved.logs_key is None:
            return Found(elsewhere=resolved.server.logs.elsewhere or None)
        key = server_id, FEW if lines <= FEW else LINES
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.get_running_loop().create_task(_ask(resolved, key[1]))
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        found = await asyncio.shield(task)
        return Found(found.process, found.lines[-lines:], found.elsewhere)


async def _ask(resolved: ResolvedServer, lines: int) -> Found:
    assert resolved.server.logs is not None
    try:
        answer: BridgeLogs = await fetch(resolved, lines)
    except NoLogs as error:
        return Found(elsewhere=" ".join(filter(None, (f"No lines: {error}.", resolved.server.logs.elsewhere))))
    return Found(answer.process, answer.lines)
