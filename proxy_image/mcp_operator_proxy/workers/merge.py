"""One status and one set of metrics out of those of several workers. Pure."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from mcp_operator_proxy.report import NoticeReport, ServerReport, StatusReport

Combine = Callable[[Iterable[float]], float]

GAUGES: Final[Mapping[str, Combine]] = {
    "mcp_proxy_requests_in_flight": sum,
    "mcp_proxy_sessions": sum,
    "mcp_proxy_backend_up": min,
    "mcp_server_status": min,
    "mcp_server_uptime_seconds": min,
    "mcp_proxy_server_tools": max,
    "mcp_proxy_unapproved_tools": max,
    "mcp_proxy_stdio_processes": sum,
    "mcp_proxy_backend_circuit_state": max,
    "mcp_proxy_backend_calls_in_flight": sum,
    "mcp_proxy_backend_calls_waiting": sum,
    "mcp_proxy_backend_connections": sum,
    "mcp_proxy_parked_calls": sum,
    "mcp_proxy_result_cache_entries": sum,
    "mcp_proxy_result_cache_bytes": sum,
    "mcp_proxy_config_info": max,
    "mcp_user_sessions_active": max,
    "mcp_user_sessions_limit": max,
    "mcp_proxy_certificate_not_after_timestamp_seconds": min,
}
"""How the values of the workers become one; a sum where nothing is said. Histograms are sums, and counters but for restarts."""
RESTARTS: Final = "mcp_server_restarts"
PROCESSES: Final = "mcp_proxy_stdio_processes"
"""Of the servers of which each worker has processes of its own; the ends of all of them count. Whether another server is back each
worker sees for itself: there the most count."""
NOTICES: Final = 64
_SEVERITY: Final = ("ready", "pending", "error")


def merge_status(reports: Sequence[StatusReport], *, missing: int = 0) -> StatusReport:
    """The status of all workers, `missing` of whom gave none.

    A revision is in use when all of them use it: otherwise the one is named that is behind, or none. Of what one worker
    sees differently, the worse is told.
    """
    last = min(reports, key=lambda r: (r.revision is not None, r.swapped_at.timestamp() if r.swapped_at else 0.0))
    rejected = max((r.rejected for r in reports if r.rejected), key=lambda found: found.at, default=None)
    by_id: dict[str, ServerReport] = {}
    for report in reports:
        for server in report.servers:
            known = by_id.get(server.id)
            if known is None or _severity(server) > _severity(known):
                by_id[server.id] = server
    return last.model_copy(
        update={
            "revision": None if missing else last.revision,
            "swapped_at": max((r.swapped_at for r in reports if r.swapped_at), default=None),
            "swap_seconds": max((r.swap_seconds for r in reports if r.swap_seconds is not None), default=None),
            "swaps": max(r.swaps for r in reports),
            "rejected": rejected,
            "started_at": min(r.started_at for r in reports),
            "sessions": sum(r.sessions for r in reports),
            "servers": tuple(by_id[server.id] for server in last.servers),
            "notices": _newest(reports),
            "workers": len(reports) + missing,
            "workers_up": len(reports),
        }
    )


def _newest(reports: Sequence[StatusReport]) -> tuple[NoticeReport, ...]:
    found = {notice.id: notice for report in reports for notice in report.notices}
    return tuple(sorted(found.values(), key=lambda notice: (notice.time, notice.id))[-NOTICES:])


def _severity(server: ServerReport) -> tuple[bool, int, bool, int]:
    return server.stopped, _SEVERITY.index(server.state), server.circuit != "closed", server.unapproved_total


class Merged(Collector):
    """Families that there are already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def merge_metrics(texts: Sequence[bytes], *, one_after_the_other: bool = False) -> bytes:
    """The metrics of all workers in the Prometheus text format, each sample once.

    `one_after_the_other`: of workers of which one came in the place of the other, so that nothing was counted twice.
    """
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], list[float]]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text.decode()):
            families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            samples = values.setdefault(family.name, {})
            for sample in family.samples:
                samples.setdefault((sample.name, tuple(sample.labels.items())), []).append(sample.value)
    apart = {dict(labels)["server"] for _, labels in values.get(PROCESSES, ())}
    for name, family in families.items():
        combine = _combine(family, apart, sum if one_after_the_other else None)
        family.samples = [
            Sample(sample, dict(labels), combine(dict(labels))(found))
            for (sample, labels), found in values[name].items()
        ]
    return generate_latest(Merged(families.values()))


def _combine(family: Metric, apart: Collection[str], always: Combine | None) -> Callable[[Mapping[str, str]], Combine]:
    """How the values of a series become one, by its labels. `apart` are the servers with processes in each worker."""
    if always is None and family.name == RESTARTS:
        return lambda labels: sum if labels["server_id"] in apart else max
    if family.type != "gauge":
        one = always or sum
    elif family.name.endswith("_created"):
        one = always or min
    else:
        one = always or GAUGES.get(family.name, sum)
    return lambda _: one
