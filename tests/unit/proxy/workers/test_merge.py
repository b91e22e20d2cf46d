"""One answer out of those of several workers."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mcp_operator_proxy.cache import key_of
from mcp_operator_proxy.metrics import Metrics
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.report import ErrorReport, RejectedConfig, ServerReport, StatusReport
from mcp_operator_proxy.workers.merge import GAUGES, merge_metrics, merge_status

START = datetime(2026, 1, 1, tzinfo=UTC)
READY = ServerReport(id="ns/a", state="ready", tools=("t",))
BROKEN = ServerReport(id="ns/a", state="error", error=ErrorReport(error_class="Timeout", message="m"))


def report(revision: str | None = "r1", minute: int = 0, **fields: object) -> StatusReport:
    at = START + timedelta(minutes=minute)
    values = {"version": "1", "revision": revision, "swapped_at": at if revision else None, "started_at": at, **fields}
    return StatusReport.model_validate(values)


@pytest.mark.parametrize(
    ("revisions", "missing", "expected"),
    [
        (["r1", "r1"], 0, "r1"),
        (["r2", "r1"], 0, "r1"),
        (["r1", "r2"], 0, "r1"),
        (["r1", None], 0, None),
        (["r1", "r1"], 1, None),
    ],
    ids=["all", "first ahead", "first behind", "one has none yet", "one is silent"],
)
def test_a_revision_is_in_use_when_all_use_it(revisions: list[str | None], missing: int, expected: str | None) -> None:
    reports = [report(revision, minute=0 if revision == "r1" else 5) for revision in revisions]
    merged = merge_status(reports, missing=missing)

    assert merged.revision == expected
    assert (merged.workers, merged.workers_up) == (2 + missing, 2)


def test_sessions_add_up_and_the_worse_is_told() -> None:
    refused = RejectedConfig(revision="r2", message="no", at=START)
    merged = merge_status(
        [
            report(sessions=2, servers=(READY,), swaps=3, minute=1),
            report(sessions=5, servers=(BROKEN,), swaps=1, rejected=refused),
        ]
    )

    assert (merged.sessions, merged.swaps) == (7, 3)
    assert merged.servers == (BROKEN,)
    tripped = READY.model_copy(update={"circuit": "open"})
    assert merge_status([report(servers=(READY,)), report(servers=(tripped,))]).servers == (tripped,)
    stopped = ServerReport(id=BROKEN.id, state="pending", stopped=True)
    assert merge_status([report(servers=(stopped,)), report(servers=(BROKEN,))]).servers == (stopped,)
    assert merged.rejected == refused
    assert merged.started_at == START


def metrics(sessions: int, requests: int, server: ServerReport = READY) -> Metrics:
    made = Metrics(lambda: report(servers=(server,)), lambda: {"/mcp": sessions})
    for _ in range(requests):
        made.observe("/mcp", "tools/call", "ok", 0.02)
    made.in_flight.value += requests
    return made


def test_counters_histograms_and_gauges_are_combined() -> None:
    merged = merge_metrics([metrics(2, 1).render(), metrics(3, 4, BROKEN).render()]).decode().splitlines()

    for line in (
        'mcp_proxy_requests_total{method="tools/call",route="/mcp",status="ok"} 5.0',
        'mcp_proxy_request_seconds_bucket{le="0.025",method="tools/call",route="/mcp"} 5.0',
        'mcp_proxy_request_seconds_count{method="tools/call",route="/mcp"} 5.0',
        'mcp_proxy_sessions{route="/mcp"} 5.0',
        "mcp_proxy_requests_in_flight 5.0",
        'mcp_proxy_backend_up{server="ns/a"} 0.0',
        'mcp_proxy_server_tools{server="ns/a"} 1.0',
        'mcp_proxy_config_info{revision="r1"} 1.0',
        "# TYPE mcp_proxy_requests_total counter",
    ):
        assert line in merged


async def test_the_memories_of_the_workers_are_added_up() -> None:
    async def answer() -> dict[str, Any]:
        return {"content": []}

    workers = Proxy(), Proxy()
    for number, worker in enumerate(workers, 1):
        for argument in range(number):
            for _ in range(2):
                key = key_of("anybody", "/mcp", "ns/a", "t", {"a": argument})
                await worker.cache.get_or_call(key, 60, answer)
    merged = merge_metrics([worker.metrics.render() for worker in workers]).decode().splitlines()
    size = sum(worker.cache.report().size for worker in workers)
    for name, value in {"entries": 3, "bytes": size, "hits_total": 3, "misses_total": 3}.items():
        assert f"mcp_proxy_result_cache_{name} {value}.0" in merged


def test_of_one_worker_nothing_changes() -> None:
    text = metrics(2, 3).render()

    assert sorted(merge_metrics([text]).splitlines()) == sorted(text.splitlines())


def test_every_gauge_says_how_it_is_combined() -> None:
    """A new one is added to `GAUGES`: a sum is often wrong."""
    families = list(Proxy().metrics.registry.collect())

    assert {f.name for f in families if f.type == "gauge"} == set(GAUGES)
