"""From the proxy's own reports to the library's answers. Pure."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from mcp_operator_proxy.library.document import ServerSpec
from mcp_operator_proxy.library.results import (
    CallStats,
    NameConflict,
    ReloadReport,
    ServerStats,
    ServerStatus,
    Stats,
)
from mcp_operator_proxy.report import Conflict, ServerReport
from mcp_operator_proxy.table import RouteTable
from mcp_operator_proxy.usage import ToolUsage


def server_status(
    name: str, spec: ServerSpec, report: ServerReport | None, table: RouteTable, *, enabled: bool
) -> ServerStatus:
    """`report` is None for a server that is not served."""
    if report is None:
        return ServerStatus(name, spec.kind, enabled)
    return ServerStatus(
        name=name,
        kind=spec.kind,
        enabled=enabled,
        connected=report.state == "ready",
        initialized=report.server_name is not None or report.protocol_version is not None,
        error=report.error,
        protocol_version=report.protocol_version,
        server_name=report.server_name,
        server_version=report.server_version,
        transport="stdio" if spec.kind == "stdio" else report.transport,
        tools=tuple(shown for shown, entry in table.tools.items() if entry.server == report.id),
        prompts=report.prompts,
        resources=report.resources,
        checked_at=report.checked_at,
        circuit=report.circuit,
        process=report.process,
    )


def reload_report(
    before: Mapping[str, object],
    after: Mapping[str, object],
    conflicts: Iterable[Conflict],
    names: Mapping[str, str],
    revision: str,
) -> ReloadReport:
    """What differs between two sets of served servers. `names` are those of server ids."""
    return ReloadReport(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(name for name in after if name in before and before[name] != after[name]),
        unchanged=tuple(name for name in after if name in before and before[name] == after[name]),
        conflicts=tuple(
            NameConflict(c.kind, c.name, names.get(c.winner, c.winner), names.get(c.loser, c.loser)) for c in conflicts
        ),
        revision=revision,
    )


def stats(usage: Mapping[tuple[str, str], ToolUsage], names: Mapping[str, str]) -> Stats:
    """Totals of all, of each server and of each tool."""
    tools: dict[str, dict[str, CallStats]] = {}
    for (server, tool), used in usage.items():
        if not used.calls:
            continue
        last = datetime.fromtimestamp(used.last_call_at, UTC)
        counted = CallStats(used.calls, used.errors, used.seconds_total, used.seconds_max, last)
        tools.setdefault(names.get(server, server), {})[tool] = counted
    servers = {name: ServerStats(_sum(counted.values()), counted) for name, counted in tools.items()}
    return Stats(_sum(server.total for server in servers.values()), servers)


def _sum(parts: Iterable[CallStats]) -> CallStats:
    counted = list(parts)
    times = [part.last_call_at for part in counted if part.last_call_at is not None]
    return CallStats(
        calls=sum(part.calls for part in counted),
        errors=sum(part.errors for part in counted),
        seconds_total=sum(part.seconds_total for part in counted),
        seconds_max=max((part.seconds_max for part in counted), default=0.0),
        last_call_at=max(times, default=None),
    )
