"""Answers of several workers as one."""

from datetime import UTC, datetime
from typing import Any

import pytest

from mcp_operator_proxy.services.rest import together
from mcp_operator_proxy.services.rest.models import (
    Health,
    HealthStatus,
    LogLine,
    Logs,
    Process,
    Server,
    ServerHealth,
    ServerList,
    ServerState,
)


def server(state: ServerState, name: str = "ns/s", **more: Any) -> Server:
    data = {"server_id": name, "name": "s", "namespace": "ns", "transport": "http", "state": state, "per_user": False}
    rest = {"category": "", "tools": 0, "circuit": "closed", "error": None, "error_class": None, "version": None}
    return Server.model_validate({**data, **rest, "process": None, "processes": [], **more})


def listed(*servers: Server) -> ServerList:
    return ServerList(servers=list(servers), total=len(servers))


def process(worker: int) -> dict[str, Any]:
    of = Process(worker=worker, state="ready", pid=worker + 10, restarts=0, uptime_seconds=1.0, exit_code=None)
    return {"process": of, "processes": [of]}


@pytest.mark.parametrize(
    ("own", "other", "told"),
    [
        ("running", "running", "running"),
        ("running", "pending", "pending"),
        ("pending", "error", "error"),
        ("error", "running", "error"),
        ("running", "stopped", "stopped"),
    ],
)
def test_the_worse_state_is_told(own: ServerState, other: ServerState, told: str) -> None:
    found = together.servers(
        listed(server(own, error=own)), {1: listed(server(other, error=other), server("error", "ns/x"))}
    )
    assert [(one.state, one.error) for one in found.servers] == [(told, told)]
    assert found.total == 1


def test_an_open_circuit_and_all_processes_and_tools() -> None:
    own = listed(server("running", tools=2, **process(1)), server("pending", "ns/new"))
    found = together.servers(own, {0: listed(server("running", circuit="open", tools=3, **process(0)))})
    first, new = found.servers
    assert (first.circuit, first.tools, [one.pid for one in first.processes]) == ("open", 3, [10, 11])
    assert first.process is not None
    assert first.process.worker == 0
    assert new.state == "pending"


def lines(worker: int, *times: int) -> Logs:
    found = [LogLine(time=datetime.fromtimestamp(at, UTC), worker=worker, text=f"{worker}-{at}") for at in times]
    return Logs(server_id="ns/s", lines=found)


def test_lines_stand_in_order_of_time_and_the_newest_are_told() -> None:
    found = together.logs([lines(1, 1, 4, 5), lines(0, 2, 3, 5)], 5)
    assert found is not None
    assert [line.text for line in found.lines] == ["0-2", "0-3", "1-4", "1-5", "0-5"]
    assert together.logs([], 5) is None


def health(status: HealthStatus = "healthy", **more: Any) -> Health:
    reason = None if status == "healthy" else f"why {status}"
    data = {"version": "1", "uptime_seconds": 1.0, "servers": [], "redis": "unused", "database": "unused"}
    return Health.model_validate({"status": status, "reason": reason, **data, **more})


@pytest.mark.parametrize(
    ("own", "other", "missing", "told", "reason"),
    [
        ("healthy", "healthy", 0, "healthy", None),
        ("healthy", "degraded", 0, "degraded", "why degraded"),
        ("degraded", "down", 0, "down", "why down"),
        ("healthy", "healthy", 1, "degraded", "1 of 3 workers give no answer"),
        ("healthy", "down", 1, "down", "why down"),
    ],
)
def test_health_is_that_of_the_worst(
    own: HealthStatus, other: HealthStatus, missing: int, told: str, reason: str | None
) -> None:
    found = together.health(health(own), {1: health(other)}, missing)
    assert (found.status, found.reason, found.workers, found.workers_up) == (told, reason, 2 + missing, 2)


def test_stores_and_servers_of_the_worst() -> None:
    good = ServerHealth(server_id="ns/s", state="running", error=None)
    bad = ServerHealth(server_id="ns/s", state="error", error="away")
    found = together.health(
        health(servers=[good], redis="up", uptime_seconds=5.0),
        {1: health("degraded", servers=[bad], redis="down", database="up")},
        0,
    )
    assert (found.servers, found.redis, found.database, found.uptime_seconds) == ([bad], "down", "up", 5.0)
