"""What the operator tells of itself where it runs: metrics behind its Service, and a log."""

import json
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.kubectl import Namespace, eventually
from support.product import RELEASE, SYSTEM
from support.resources import proxy, remote

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
CORE = {"team": "core"}
READY = ("True", "False", "Unknown")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def _scraped(system: Namespace) -> Samples:
    """Samples by name and labels."""
    url = system.service_url(f"{RELEASE}-metrics", "/metrics")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {(s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples}


def _sum(samples: Samples, name: str, **labels: str) -> float:
    return sum(value for (found, of), value in samples.items() if found == name and labels.items() <= set(of))


def _documented() -> set[str]:
    """Names in the table of the operator's metrics."""
    table = DOCUMENT.read_text().split("| operator | labels | means |")[1].split("\n\n")[0]
    return {
        name
        for row in table.splitlines()
        for name in re.findall(r"`([a-z_]+)`", row.split("|")[1:2][0] if "|" in row else "")
    }


@pytest.fixture
def busy(namespace: Namespace, backend: Callable[..., str]) -> Namespace:
    """A namespace with a proxy, a server that answers and one that does not."""
    dead = {"interval": "1s", "timeout": "2s", "failureThreshold": 1}
    namespace.apply(
        remote("one", backend("one"), labels=CORE),
        remote("dead", "http://127.0.0.1:9/mcp", labels=CORE, health=dead),
        proxy(selector=CORE),
    )
    namespace.wait("mcps", "one", "Ready")
    namespace.wait("mcps", "dead", "Ready", "False")
    eventually(lambda: namespace.condition("mcpp", "tools", "Programmed")["status"] == "True")
    return namespace


def test_metrics(product: Namespace, busy: Namespace) -> None:
    swaps = _sum(_scraped(product), "mcp_operator_swap_seconds_count")
    busy.run("label", "mcps", "dead", "team-")
    eventually(lambda: _sum(_scraped(product), "mcp_operator_swap_seconds_count") > swaps)

    def servers() -> dict[str, float]:
        return {
            ready: _sum(_scraped(product), "mcp_operator_objects", kind="McpServer", ready=ready) for ready in READY
        }

    def programmed() -> float:
        return _sum(
            _scraped(product), "mcp_operator_conditions", kind="McpProxy", condition="Programmed", status="True"
        )

    # Others may still be ending.
    eventually(lambda: servers() == {"True": 1, "False": 1, "Unknown": 0}, why=servers, timeout=120)
    eventually(lambda: programmed() == 1, why=programmed, timeout=120)
    seen = _scraped(product)
    assert _sum(seen, "mcp_operator_leader") == 1
    assert _sum(seen, "mcp_operator_probes_total", kind="McpServer", outcome="ok") >= 1
    assert _sum(seen, "mcp_operator_probes_total", kind="McpServer", outcome="ConnectionRefused") >= 1
    assert _sum(seen, "mcp_operator_probe_seconds_count", kind="McpServer") >= 2
    for kind in ("McpServer", "McpProxy"):
        assert _sum(seen, "controller_reconcile_time_seconds_count", kind=kind) >= 1
        assert _sum(seen, "controller_reconcile_total", kind=kind) >= 1
        assert _sum(seen, "workqueue_queue_duration_seconds_count", kind=kind) >= 1
        assert 0 <= _sum(seen, "mcp_operator_watch_age_seconds", kind=kind) < 150
    assert _sum(seen, "mcp_operator_api_requests_total", method="PATCH") >= 1


def test_every_metric_of_the_document_is_there(product: Namespace, busy: Namespace) -> None:
    assert busy
    documented = _documented()
    assert len(documented) > 20
    names = {name for name, _ in _scraped(product)}
    rare = {name for name in documented if re.search("canary|restarts|_failures_|losses|retries", name)}
    missing = {name for name in documented - rare if not names & {name, f"{name}_count"}}
    assert missing == set()


def test_the_log(product: Namespace, busy: Namespace) -> None:
    """One JSON object a line; those of a resource say which it is."""

    def written() -> list[dict[str, Any]]:
        text = product.run("logs", f"deployment/{RELEASE}", "--tail=-1")
        return [json.loads(line) for line in text.splitlines()]

    def ours() -> list[dict[str, Any]]:
        return [line for line in written() if line.get("namespace") == busy.name]

    every = {("McpServer", "one"), ("McpServer", "dead"), ("McpProxy", "tools")}
    eventually(lambda: every <= {(line["kind"], line["object"]) for line in ours()}, why=ours)
    # A change of Ready is told.
    eventually(
        lambda: [line for line in ours() if line["object"] == "dead" and line.get("status") == "False"], why=ours
    )
    lines = written()
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert SYSTEM not in {line.get("namespace") for line in lines}
