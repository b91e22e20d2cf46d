"""`/healthz`, `/readyz`, `/metrics`: what they say, and when."""

import socket

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Gauge

from mcp_operator.api import meta
from mcp_operator.app import endpoints
from mcp_operator.app.metrics import OperatorMetrics
from mcp_operator.app.run import _State
from mcp_operator.engine.keys import Key
from mcp_operator.engine.store import Store
from mcp_operator.probe.facts import ProbeResult
from mcp_operator_proxy.report import ErrorReport
from support import models, resources
from support.bench import FACTS, NOW


async def _get(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def test_what_they_say() -> None:
    registry, problems = CollectorRegistry(), ["listing"]
    gauge = Gauge("looks", "times that somebody looked", registry=registry)
    async with endpoints.serve(
        "127.0.0.1",
        0,
        alive=lambda: None,
        ready=lambda: problems[0] if problems else None,
        registry=registry,
        before_metrics=gauge.inc,
    ) as port:
        assert await _get(port, "/healthz") == (200, "ok")
        assert await _get(port, "/readyz") == (503, "listing")
        problems.clear()
        assert await _get(port, "/readyz") == (200, "ok")
        assert "looks 1.0" in (await _get(port, "/metrics"))[1]
        assert "looks 2.0" in (await _get(port, "/metrics"))[1]
        assert (await _get(port, "/other"))[0] == 404
    with pytest.raises(aiohttp.ClientError):
        await _get(port, "/healthz")


async def test_a_port_that_is_taken_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        serving = endpoints.serve(
            "127.0.0.1",
            port,
            alive=lambda: None,
            ready=lambda: None,
            registry=CollectorRegistry(),
            before_metrics=lambda: None,
        )
        with pytest.raises(OSError, match="address already in use"):
            async with serving:
                pass


def test_a_standby_is_alive_and_not_ready() -> None:
    state = _State()
    assert state.alive() is None
    assert "another process leads" in (state.ready() or "")
    state.leader = True
    assert "listing" in (state.ready() or "")


def test_objects_are_counted_by_condition() -> None:
    registry, store = CollectorRegistry(), Store()
    metrics = OperatorMetrics(registry)

    def count(**labels: str) -> float | None:
        return registry.get_sample_value("mcp_operator_conditions", {"kind": "McpServer", **labels})

    for name, healthy in (("a", "True"), ("b", "False"), ("c", "False")):
        body = models.stored(resources.remote(name, "https://x/mcp"))
        store.observe("McpServer", {**body, "status": {"conditions": [{"type": "Healthy", "status": healthy}]}})
    metrics.count_objects(store)
    assert [count(condition="Healthy", status=status) for status in ("True", "False", "Unknown")] == [1, 2, None]
    assert count(condition="Ready", status="Unknown") == 3
    store.replace("McpServer", [])
    metrics.count_objects(store)
    assert count(condition="Healthy", status="False") is None, "no series of what is gone"
    metrics.note_age({"McpServer": 3.5}, 0.5)
    assert registry.get_sample_value("mcp_operator_watch_age_seconds", {"kind": "McpServer"}) == 3.5
    assert registry.get_sample_value("controller_longest_running_reconcile_seconds") == 0.5
    metrics.forget_objects()
    assert registry.get_sample_value("mcp_operator_objects", {"kind": "McpServer", "ready": "True"}) is None
    assert registry.get_sample_value("mcp_operator_watch_age_seconds", {"kind": "McpServer"}) is None


def test_what_does_not_hold_is_named() -> None:
    registry, store = CollectorRegistry(), Store()
    metrics = OperatorMetrics(registry)

    def named() -> set[tuple[str, ...]]:
        samples = next(m for m in registry.collect() if m.name == "mcp_operator_unmet_conditions").samples
        labels = ("kind", "object", "condition", "status", "reason")
        return {tuple(sample.labels[label] for label in labels) for sample in samples if sample.value == 1}

    conditions = [
        {"type": "Accepted", "status": "True", "reason": "Accepted"},
        {"type": "Programmed", "status": "False", "reason": "Crashing"},
        {"type": "Ready", "status": "False", "reason": "Crashing"},
        {"type": "Reconciling", "status": "True", "reason": "Crashing"},
    ]
    body = models.stored(resources.remote("a", "https://x/mcp"))
    store.observe("McpServer", {**body, "status": {"conditions": conditions}})
    store.observe("McpServer", models.stored(resources.remote("new", "https://x/mcp")))
    metrics.count_objects(store)
    assert named() == {
        ("McpServer", "team-a/a", "Programmed", "False", "Crashing"),
        ("McpServer", "team-a/a", "Ready", "False", "Crashing"),
        ("McpServer", "team-a/new", "Ready", "Unknown", "Pending"),
    }
    store.replace("McpServer", [])
    metrics.count_objects(store)
    assert named() == set()
    store.replace("McpServer", [body])
    metrics.count_objects(store)
    metrics.forget_objects()
    assert named() == set(), "another process leads"


def test_requests_are_counted_by_their_answers() -> None:
    registry = CollectorRegistry()
    metrics = OperatorMetrics(registry)
    for status in (200, 200, 429, 0):
        metrics.answered("PATCH", status, 0.2)
    metrics.lost_the_lead()
    metrics.watch_failed()

    def count(code: str) -> float | None:
        return registry.get_sample_value("mcp_operator_api_requests_total", {"method": "PATCH", "code": code})

    assert [count(code) for code in ("200", "429", "none")] == [2, 1, 1]
    assert registry.get_sample_value("mcp_operator_api_request_seconds_count", {"method": "PATCH"}) == 4
    assert registry.get_sample_value("mcp_operator_leadership_losses_total") == 1
    assert registry.get_sample_value("mcp_operator_watch_failures_total") == 1


def test_objects_are_counted_by_readiness() -> None:
    registry, store = CollectorRegistry(), Store()
    metrics = OperatorMetrics(registry)
    for name, ready in (("a", "True"), ("b", "False"), ("c", None), ("d", "odd")):
        body = models.stored(resources.remote(name, "https://x/mcp"))
        conditions = [{"type": "Accepted", "status": "True"}, {"type": "Ready", "status": ready}] if ready else None
        store.observe("McpServer", {**body, "status": {"conditions": conditions}})
    metrics.count_objects(store)

    def count(kind: str, ready: str) -> float | None:
        return registry.get_sample_value("mcp_operator_objects", {"kind": kind, "ready": ready})

    assert [count("McpServer", ready) for ready in ("True", "False", "Unknown")] == [1, 1, 2]
    assert all(count(kind.kind, "True") is not None for kind in meta.KINDS)
    store.replace("McpServer", [])
    metrics.count_objects(store)
    assert count("McpServer", "True") == 0


def test_probes_and_swaps_are_counted() -> None:
    registry = CollectorRegistry()
    metrics, key = OperatorMetrics(registry), Key("McpServer", "a", "b")
    metrics.probed(key, ProbeResult(time=NOW, seconds=0.2, facts=FACTS))
    error = ErrorReport(error_class="Timeout", message="x")
    metrics.probed(key, ProbeResult(time=NOW, seconds=5, error=error))
    metrics.swapped(0.3)
    metrics.leads(leading=True)
    labels = {"kind": "McpServer"}
    assert registry.get_sample_value("mcp_operator_probes_total", {**labels, "outcome": "ok"}) == 1
    assert registry.get_sample_value("mcp_operator_probes_total", {**labels, "outcome": "Timeout"}) == 1
    assert registry.get_sample_value("mcp_operator_probe_seconds_sum", labels) == pytest.approx(5.2)
    assert registry.get_sample_value("mcp_operator_swap_seconds_count") == 1
    assert registry.get_sample_value("mcp_operator_leader") == 1
