"""What probes and replicas found, in the terms of the conditions. Pure."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mcp_operator.compile import Compiled, compile_proxy, resolve
from mcp_operator.compile.servers import cluster_url
from mcp_operator.conditions.proxy import Replica
from mcp_operator.probe.replica import ReplicaState
from mcp_operator.probe.state import ServerHealth
from mcp_operator.reconcile.observed import (
    health_view,
    is_paused,
    parent_view,
    probe_target,
    proxy_target,
    replica_view,
    slowest,
)
from mcp_operator_proxy.report import Conflict, ErrorReport, RouteReport, ServerReport
from support import models, resources
from support.bench import FACTS

ERROR = ErrorReport(error_class="Timeout", message="no answer")
PROXY = models.proxy(resources.proxy(path="/all"))
ROUTE = models.route(resources.route("extra", {"name": "one", "prefix": ""}, {"name": "nobody"}, path="/x"))


def compiled(*routes: Any) -> Compiled:
    servers = [models.server(resources.remote("one", "https://one/mcp"))]
    return compile_proxy(PROXY, routes=routes, servers=servers, objects={}, url_of=cluster_url)


@pytest.mark.parametrize(("value", "paused"), [("true", True), ("True", False), ("", False), (None, False)])
def test_paused(value: str | None, paused: bool) -> None:
    annotations = {} if value is None else {"mcp-operator.dev/paused": value}
    assert is_paused(models.proxy(resources.proxy(), annotations=annotations)) is paused


def test_a_server_is_probed_as_a_proxy_would_speak_to_it() -> None:
    source = {"secretKeyRef": {"name": "s", "key": "k"}}
    body = resources.remote("far", "https://far/mcp", headers=[{"name": "A", "valueFrom": source}])
    body["spec"]["remote"]["transport"] = "sse"
    server = models.server(body)
    target = probe_target("https://far/mcp", server, resolve(server, dict([models.secret("s", k="v\n")])))
    assert (target.url, target.transport, target.headers, target.timeout) == ("https://far/mcp", "sse", {"A": "v"}, 3.0)
    stdio = models.server(resources.stdio("near", "uvx"))
    assert probe_target("http://x/mcp", stdio, resolve(stdio, {})).transport == "streamable-http"
    assert proxy_target(PROXY).url == "http://tools-proxy.team-a.svc/all"


def test_health() -> None:
    assert health_view(None) is None
    time = datetime(2026, 1, 1, 0, 0, 0, 123, tzinfo=UTC)
    good = health_view(ServerHealth(healthy=True, facts=FACTS, latency_seconds=0.01, time=time))
    assert good is not None
    assert (good.healthy, good.tools, good.tools_digest, good.error_class) == (True, FACTS.tools, FACTS.digest, "")
    assert good.time == time.replace(microsecond=0), "a status holds no more"
    bad = health_view(ServerHealth(healthy=False, error=ERROR, consecutive_failures=3))
    assert bad is not None
    assert (bad.error_class, bad.error, bad.consecutive_failures) == ("Timeout", "no answer", 3)


def test_replicas() -> None:
    servers = (
        ServerReport(id="a/one", state="ready"),
        ServerReport(id="a/two", state="error", error=ERROR),
        ServerReport(id="a/three", state="pending"),
    )
    routes = (RouteReport(name="r", path="/", tools=("a", "b")), RouteReport(name="s", path="/s", tools=("c",)))
    states = {
        "b": ReplicaState(asked="r", state="running", revision="r", servers=servers, routes=routes),
        "a": ReplicaState(asked="r"),
        "c": ReplicaState(asked="r", state="unreachable", error=ERROR),
    }
    known = {"a/one": "", "a/two": "Timeout", "a/three": None}
    assert replica_view(states) == [
        Replica("a", answered=False, servers={}),
        Replica("b", revision="r", servers=known, tools=3),
        Replica("c", unreachable="no answer", servers={}),
    ]


@pytest.mark.parametrize(
    ("seconds", "expected"), [([], None), ([1.0], 1.0), ([1.0, 2.5], 2.5), ([1.0, None], None), ([None], None)]
)
def test_the_slowest_counts(seconds: list[float | None], expected: float | None) -> None:
    assert slowest({str(n): ReplicaState(asked="r", seconds=taken) for n, taken in enumerate(seconds)}) == expected


def _programmed(status: str, revision: str) -> Any:
    condition = {
        "type": "Programmed",
        "status": status,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": "X",
        "message": "0 of 1",
    }
    return {**resources.proxy(path="/all"), "status": {"conditions": [condition], "programmedRevision": revision}}


@pytest.mark.parametrize(
    ("status", "revision", "waiting"),
    [
        (None, "", "its pods are being created"),
        ("False", "before", "0 of 1"),
        ("Unknown", "before", "0 of 1"),
        ("True", "before", "its replicas do not all run revision"),
        ("True", "same", None),
    ],
)
def test_what_a_route_waits_for(status: str | None, revision: str, waiting: str | None) -> None:
    outcome = compiled(ROUTE)
    revision = outcome.config.revision if revision == "same" else revision
    proxy = PROXY if status is None else models.proxy(_programmed(status, revision))
    parent = parent_view(ROUTE, proxy, outcome, {})
    assert (parent.path, parent.servers) == ("/x", ("team-a/one",))
    assert [problem.reason for problem in parent.problems] == ["ServerNotFound"]
    assert (parent.waiting or "").startswith(waiting or "")
    assert (parent.waiting is None) == (waiting is None)


def test_a_route_that_was_not_compiled_yet() -> None:
    for outcome in (None, compiled()):
        parent = parent_view(ROUTE, PROXY, outcome, {})
        assert parent.waiting == "its configuration is being compiled"
        assert (parent.path, parent.servers) == ("/x", ())


def test_names_that_another_server_has() -> None:
    mine = Conflict(route="McpRoute/team-a/extra", kind="tool", name="add", winner="team-a/two", loser="team-a/one")
    elsewhere = mine.model_copy(update={"route": "McpProxy/team-a/tools"})
    others = mine.model_copy(update={"loser": "team-a/two", "winner": "team-a/one"})
    running = ReplicaState(asked="r", state="running", conflicts=(mine, elsewhere, others))
    states = {"a": running, "b": replace(running, conflicts=(mine,)), "c": replace(running, conflicts=())}
    (hidden,) = parent_view(ROUTE, PROXY, compiled(ROUTE), states).hidden
    assert hidden.startswith("tool 'add' of McpServer team-a/one is hidden at /x: McpServer team-a/two already has")
