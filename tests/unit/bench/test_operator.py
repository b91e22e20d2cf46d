"""The benchmark of the operator, as far as it is a function: what it applies, what counts as right, what it reports."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from bench.operator.figures import Figures
from bench.operator.node import projected, put
from bench.operator.observer import Observer, proxy_is_right, server_is_right
from bench.operator.process import Counters, counters
from bench.operator.run import summary, table
from bench.operator.world import TEAM, TOOLS, World, address
from mcp_operator.api.resources import McpProxy, McpServer, parse
from mcp_operator.app.metrics import OperatorMetrics
from mcp_operator.engine.keys import Key
from mcp_operator.probe.facts import ProbeResult, ServerFacts

NOW = datetime(2026, 5, 1, tzinfo=UTC)
BACKEND = "http://127.0.0.1:9"


@pytest.mark.parametrize(("servers", "proxies"), [(1, 1), (40, 1), (41, 2), (100, 3), (2000, 50)])
def test_a_world_is_valid_and_whole(servers: int, proxies: int) -> None:
    world = World(servers, BACKEND)
    bodies = [parse({**body}, strict=True) for _, body in world.objects()]
    found = [body for body in bodies if isinstance(body, McpServer)]
    selectors = {body.metadata.name: body.spec.servers.selector for body in bodies if isinstance(body, McpProxy)}
    assert (len(found), len(selectors)) == (servers, proxies)
    assert sum(world.members(name) for name in selectors) == servers
    assert max(world.members(name) for name in selectors) <= TEAM
    for server in found:
        chosen = [name for name, selector in selectors.items() if selector and selector.matches(server.metadata.labels)]
        assert chosen == [world.team_of(server.metadata.name)]


def test_each_proxy_has_an_address_that_its_name_leads_to() -> None:
    world = World(2000, BACKEND)
    addresses = {address(name) for name in world.proxy_names}
    assert len(addresses) == world.proxies
    assert all(one.startswith("127.0.") for one in addresses)
    assert f"{address('team-007')} team-007-proxy.bench.svc\n" in world.hosts()


def condition(kind: str, status: str = "True", generation: int = 2) -> dict[str, Any]:
    return {"type": kind, "status": status, "observedGeneration": generation, "reason": "R", "message": "m"}


def body(kind: str, name: str, *conditions: dict[str, Any], **status: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "metadata": {"name": name, "generation": 2},
        "status": {**status, "conditions": list(conditions)},
    }


READY = condition("Ready")
DONE = {
    "revision": "b",
    "programmedRevision": "b",
    "serverCount": 3,
    "readyServers": 3,
    "toolCount": 3 * TOOLS,
}


def test_what_is_right() -> None:
    assert server_is_right(body("McpServer", "a", READY, tools={"count": TOOLS}))
    assert not server_is_right(body("McpServer", "a", READY, tools={"count": 1}))
    assert not server_is_right(body("McpServer", "a", condition("Ready", "False"), tools={"count": TOOLS}))
    assert not server_is_right(body("McpServer", "a", condition("Ready", generation=1), tools={"count": TOOLS}))
    both = (READY, condition("Programmed"))
    assert proxy_is_right(body("McpProxy", "t", *both, **DONE), 3)
    assert not proxy_is_right(body("McpProxy", "t", *both, **DONE), 4)
    assert not proxy_is_right(body("McpProxy", "t", READY, **DONE), 3)
    for field, value in (("programmedRevision", "a"), ("readyServers", 2), ("toolCount", 1)):
        assert not proxy_is_right(body("McpProxy", "t", *both, **{**DONE, field: value}), 3)


def test_the_observer_counts_writes_and_what_is_right() -> None:
    observer = Observer(World(1, BACKEND))
    observer._resource("McpServer", "ADDED", body("McpServer", "server-0000"))
    observer._resource("McpServer", "MODIFIED", body("McpServer", "server-0000", READY, tools={"count": TOOLS}))
    assert not observer.all_right
    assert "McpProxy team-000: no status" in observer.wrong()
    done = {**DONE, "serverCount": 1, "readyServers": 1, "toolCount": TOOLS}
    observer._resource("McpProxy", "ADDED", body("McpProxy", "team-000", READY, condition("Programmed"), **done))
    assert observer.all_right
    for data in ({"a": "1"}, {"a": "1"}, {"a": "2"}):
        observer._config("MODIFIED", {"metadata": {"name": "team-000-proxy-config"}, "data": data})
    assert (observer.counts("ConfigMap"), observer.counts("McpServer")) == ([2], [1])
    observer._resource("McpServer", "MODIFIED", body("McpServer", "server-0000", condition("Ready", "False")))
    assert not observer.all_right


def test_a_pod_has_the_files_of_its_sources(tmp_path: Path) -> None:
    sources = [{"configMap": {"name": "c"}}, {"secret": {"name": "s"}}, {"configMap": {"name": "no", "optional": True}}]
    pod = {"spec": {"volumes": [{"name": "config", "projected": {"sources": sources}}, {"name": "tmp"}]}}
    config = {"data": {"config.json": "{}"}, "binaryData": {"more": base64.b64encode(b"\x00").decode()}}
    objects = {("ConfigMap", "c"): config}
    assert projected(pod, objects) is None
    secret = {"data": {"session-key": base64.b64encode(b"key").decode()}}
    files = projected(pod, {**objects, ("Secret", "s"): secret})
    assert files == {"config.json": b"{}", "more": b"\x00", "session-key": b"key"}
    put(tmp_path, files, 0)
    put(tmp_path, {"config.json": b"[]"}, 1)
    assert [path.name for path in (tmp_path / "..data").resolve().iterdir()] == ["config.json"]
    assert (tmp_path / "..data" / "config.json").read_bytes() == b"[]"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["..1", "..data"]


def figures(servers: int, **more: float) -> Figures:
    known = dict.fromkeys((name for name in Figures.__dataclass_fields__ if name not in {"servers", "proxies"}), 1.0)
    return Figures(**{**known, "servers": servers, "proxies": 3, **more})  # type: ignore[arg-type]


def test_the_summary_names_the_largest_world() -> None:
    curve = [figures(100, change_cpu_ms=20.0), figures(2000, change_cpu_ms=30.0, converge_s=77.5, rss_mb=210.0)]
    found = summary(curve, ["quiet"])
    assert (found["converge_2000_s"], found["rss_mb"], found["change_cpu_ratio"]) == (77.5, 210.0, 1.5)
    assert [entry["servers"] for entry in found["curve"]] == [100, 2000]
    json.dumps(found)
    lines = table(curve).splitlines()
    assert lines[0].split() == ["servers", "100", "2000"]
    assert len(lines) == len(Figures.__dataclass_fields__)


def test_the_operator_is_asked_for_what_it_did() -> None:
    registry = CollectorRegistry()
    metrics = OperatorMetrics(registry)
    for method, status, times in (("GET", 200, 5), ("PATCH", 200, 3), ("PATCH", 409, 1), ("POST", 201, 2)):
        for _ in range(times):
            metrics.answered(method, status, 0.01)
    facts = ServerFacts(protocol_version="2025-11-25", transport="streamable-http")
    for kind in ("McpServer", "McpServer", "McpProxy"):
        metrics.probed(Key(kind, "a", "b"), ProbeResult(time=NOW, seconds=0.1, facts=facts))
    metrics.depth(4)
    metrics.busy(2)
    assert counters(generate_latest(registry).decode()) == Counters(writes=6, probes=2, waiting=6)
