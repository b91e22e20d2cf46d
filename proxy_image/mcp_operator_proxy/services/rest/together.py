"""One answer out of those of several workers: of what they see differently, the worse is told. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from mcp_operator_proxy.services.rest.models import Health, LogLine, Logs, Server, ServerHealth, ServerList

STATUSES: Final = ("healthy", "degraded", "down")
STORES: Final = ("unused", "up", "down")
STATES: Final = ("running", "pending", "error", "stopped")
"""A server is stopped for all workers; one that has not heard of it will."""


def servers(own: ServerList, others: Mapping[int, ServerList]) -> ServerList:
    """Those that `own` has, in its order."""
    seen = [{server.server_id: server for server in each.servers} for each in others.values()]
    merged = [_server([one, *(each[one.server_id] for each in seen if one.server_id in each)]) for one in own.servers]
    return ServerList(servers=merged, total=own.total)


def _server(views: list[Server]) -> Server:
    worst = max(views, key=lambda view: (STATES.index(view.state), view.circuit != "closed"))
    processes = sorted((process for view in views for process in view.processes), key=lambda each: each.worker)
    return worst.model_copy(update={"tools": max(view.tools for view in views), "processes": processes})


def logs(views: Iterable[Logs], lines: int) -> Logs | None:
    """The newest lines of all, the oldest first; of equal times each worker's stay in their order."""
    known = list(views)
    if not known:
        return None
    found: list[LogLine] = sorted((line for view in known for line in view.lines), key=lambda line: line.time)
    return Logs(server_id=known[0].server_id, lines=found[-lines:])


def health(own: Health, others: Mapping[int, Health], missing: int) -> Health:
    """`missing` workers gave no answer."""
    views = [own, *others.values()]
    worst = max(views, key=lambda view: STATUSES.index(view.status))
    status, reason, total = worst.status, worst.reason, len(views) + missing
    if missing and status == "healthy":
        status, reason = "degraded", f"{missing} of {total} workers give no answer"
    seen = [{server.server_id: server for server in view.servers} for view in views]
    return own.model_copy(
        update={
            "status": status,
            "reason": reason,
            "workers": total,
            "workers_up": len(views),
            "uptime_seconds": max(view.uptime_seconds for view in views),
            "servers": [_worst(each[one.server_id] for each in seen if one.server_id in each) for one in own.servers],
            "redis": max((view.redis for view in views), key=STORES.index),
            "database": max((view.database for view in views), key=STORES.index),
        }
    )


def _worst(views: Iterable[ServerHealth]) -> ServerHealth:
    return max(views, key=lambda view: STATES.index(view.state))
