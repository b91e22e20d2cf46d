"""The operator's parts together, with workers, real probes of real servers and an API server in memory.

from a manifest to Ready, to False when the server dies, to Ready when it is back · what was there before it started
200 servers at once: every key once, one child each · a failure is retried · a pod that becomes ready is probed at once
which collections are listed · what it writes when it starts anew · routes across namespaces are known first
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import pytest
from fastmcp import FastMCP

from mcp_operator.api import meta
from mcp_operator.app.metrics import OperatorMetrics
from mcp_operator.app.operator import STUCK_SECONDS, Operator
from mcp_operator.app.options import parse
from mcp_operator.engine.keys import Key
from mcp_operator.engine.streams import Stream
from mcp_operator.engine.worker import Running
from mcp_operator.kube.client import KubeClient
from mcp_operator.kube.errors import Forbidden
from mcp_operator.watch import CHILD_SELECTOR, LABELLED, watched
from support import resources
from support.apiserver import AWAY, KINDS, ApiServer, Refusal
from support.backends import ServedMCP, dead_port, eventually

Start = Callable[..., AbstractAsyncContextManager[Operator]]
QUICK = {"interval": "100ms", "timeout": "30s", "failureThreshold": 2}


def _ready(api: ApiServer, kind: str, name: str) -> tuple[str, str]:
    listed = api.get(kind, name).get("status", {}).get("conditions", [])
    return next(((c["status"], c["reason"]) for c in listed if c["type"] == "Ready"), ("", ""))


def _served() -> ServedMCP:
    mcp: FastMCP[Any] = FastMCP("demo", version="1")

    @mcp.tool
    def add(a: int, b: int) -> int:
        return a + b

    return ServedMCP(mcp)


async def test_a_server_lives_dies_and_returns(api: ApiServer, start: Start) -> None:
    async with _served() as served, start():
        api.kubectl_apply(resources.remote("far", served.url, health=QUICK))
        await eventually(lambda: _ready(api, "McpServer", "far") == ("True", "Ready"))
        assert api.get("McpServer", "far")["status"]["tools"]["names"] == ["add"]
        writes = len(api.writes)
        await served.stop()
        await eventually(lambda: _ready(api, "McpServer", "far") == ("False", "ConnectionRefused"))
        await served.start()
        await eventually(lambda: _ready(api, "McpServer", "far") == ("True", "Ready"))
        assert len(api.writes) - writes <= 4, "one write a change, however often it is probed"


async def test_what_was_there_before_it_started(api: ApiServer, start: Start) -> None:
    dead = {**QUICK, "failureThreshold": 1}
    api.kubectl_apply(resources.proxy(selector={}))
    api.kubectl_apply(resources.remote("dead", f"http://127.0.0.1:{dead_port()}/mcp", health=dead))
    async with start() as operator:
        await eventually(lambda: _ready(api, "McpServer", "dead") == ("False", "ConnectionRefused"))
        await eventually(lambda: _ready(api, "McpProxy", "tools") == ("False", "Deploying"))
        await operator.queue.join()
        writes = len(api.writes)
    async with start() as operator:
        await operator.resync.synced.wait()
        health = partial(operator._prober.health, Key("McpServer", "team-a", "dead"))
        await eventually(lambda: (found := health()) and found.healthy is False)
        await operator.queue.join()
        assert api.writes[writes:] == []


async def test_a_server_is_looked_at_when_the_routes_of_other_namespaces_are_known(
    api: ApiServer, start: Start
) -> None:
    """A process that starts reconciles servers before routes; none may miss what a route across namespaces has to do with it."""
    consent = {"namespaces": {"from": "All"}}
    api.kubectl_apply(resources.remote("far", f"http://127.0.0.1:{dead_port()}/mcp", allowedRoutes=consent))
    across = resources.route("across", {"name": "far", "namespace": "team-a"})
    api.kubectl_apply({**across, "metadata": {**across["metadata"], "namespace": "team-b"}})
    tools = resources.proxy()
    api.kubectl_apply({**tools, "metadata": {**tools["metadata"], "namespace": "team-b"}})
    async with start() as operator:
        await operator.resync.synced.wait()
        assert operator._world.proxies_of(Key("McpServer", "team-a", "far")) == {Key("McpProxy", "team-b", "tools")}
        api.kubectl_delete("McpRoute", "across", namespace="team-b")
        assert operator._world.proxies_of(Key("McpServer", "team-a", "far")) == set()


async def test_two_hundred_servers_at_once(api: ApiServer, start: Start) -> None:
    for number in range(200):
        api.kubectl_apply(resources.container(f"s{number}", "image:1"))
    async with start("--workers", "16") as operator:
        await operator.resync.synced.wait()
        await eventually(lambda: len(api.names("Service")) == 200, seconds=60)
        await operator.queue.join()
        assert len([asked for asked in api.asked if asked.method == "PATCH" and "deployments" in asked.path]) == 200


async def test_a_failure_is_retried(api: ApiServer, start: Start) -> None:
    api.refuse("PATCH", "/deployments/", AWAY, times=2)
    api.kubectl_apply(resources.container("near", "image:1"))
    async with start():
        await eventually(lambda: api.names("Deployment") == {"near-server"})


async def test_a_pod_that_becomes_ready_is_probed_at_once(api: ApiServer, start: Start) -> None:
    """Its interval is a day; nobody waits for that."""
    async with start() as operator:
        slow = {"interval": "24h", "timeout": "1s", "failureThreshold": 1}
        api.kubectl_apply(resources.container("near", "image:1", health=slow))
        await eventually(lambda: api.names("Service") == {"near-server"})
        asked: list[object] = []
        operator._prober.trigger = asked.append  # type: ignore[method-assign]
        labels = api.get("Deployment", "near-server")["spec"]["template"]["metadata"]["labels"]
        api.kubectl_apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": labels}, "spec": {}})
        for status in ("False", "True", "True", "False"):
            condition = {"type": "Ready", "status": status}
            api.edit("Pod", "p", lambda pod, condition=condition: pod.update(status={"conditions": [condition]}))
        assert [str(key) for key in asked] == ["McpServer/team-a/near"] * 2, "when it turns, not at every event"


async def test_a_deleted_resource_is_forgotten(api: ApiServer, start: Start) -> None:
    async with _served() as served, start() as operator:
        api.kubectl_apply(resources.remote("far", served.url, health=QUICK))
        await eventually(lambda: _ready(api, "McpServer", "far")[0] == "True")
        api.kubectl_delete("McpServer", "far")
        await eventually(lambda: not operator._prober._watched)
        await eventually(lambda: operator.queue.scheduled == 0 and len(operator.queue) == 0)


@pytest.mark.parametrize("namespaces", [(), ("team-a", "team-b")])
async def test_what_is_listed(
    api: ApiServer, kube: KubeClient, metrics: OperatorMetrics, namespaces: tuple[str, ...]
) -> None:
    flags = ["--namespaces", ",".join(namespaces)]
    kinds = watched(clusterwide=not namespaces)
    async with Operator(parse(flags), kube, metrics) as operator:
        await asyncio.gather(*(operator.resync.once(kind) for kind in kinds))
    assert operator.resync.synced.is_set()
    listed = {(asked.path, asked.query.get("labelSelector")) for asked in api.asked}
    scopes = [f"/namespaces/{namespace}" for namespace in namespaces] or [""]
    plurals = {kind: plural for plural, kind in KINDS.items()}
    for kind in kinds:
        selector = CHILD_SELECTOR if kind in LABELLED else None
        found = {path for path, asked in listed if path.endswith(f"/{plurals[kind]}") and asked == selector}
        assert {path.rpartition("/")[0].partition("/namespaces")[1:] for path in found} == {
            scope.partition("/namespaces")[1:] for scope in scopes
        }
    assert len(listed) == len(kinds) * len(scopes)


FORBIDDEN = Refusal(403, "Forbidden", "mcpservers is forbidden")


async def test_a_namespace_that_refuses_holds_up_no_other(
    api: ApiServer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """It was deleted, and the operator's Role with it."""
    api.refuse("GET", "/namespaces/team-b/", FORBIDDEN)
    api.kubectl_apply(resources.container("near", "image:1"))
    async with start("--namespaces", "team-a,team-b") as operator:
        await eventually(lambda: api.names("Service") == {"near-server"})
        api.relent()
        other = resources.container("other", "image:1")
        api.kubectl_apply({**other, "metadata": {**other["metadata"], "namespace": "team-b"}})
        await operator.resync.once("McpServer")
        assert len(operator.store.list("McpServer")) == 2
        api.refuse("GET", "/namespaces/team-b/", FORBIDDEN)
        await operator.resync.once("McpServer")
        assert len(operator.store.list("McpServer")) == 2, "what is not told is not gone"
    assert "cannot list McpServer of one namespace, the others go on" in caplog.text


async def test_without_any_right_it_is_not_ready(api: ApiServer, start: Start) -> None:
    api.refuse("GET", "/mcpservers", FORBIDDEN)
    async with start("--namespaces", "team-a,team-b") as operator:
        await eventually(lambda: operator.resync.unsynced == {"McpServer"})
        with pytest.raises(Forbidden):
            await operator.resync.once("McpServer")
        assert not operator.resync.synced.is_set()


async def test_a_list_finds_what_no_event_told(api: ApiServer, start: Start) -> None:
    async with start() as operator:
        await operator.resync.synced.wait()
        api.changed = lambda *_: None
        api.kubectl_apply(resources.container("near", "image:1"))
        await operator.resync.once("McpServer")
        await eventually(lambda: api.names("Service") == {"near-server"})
        api.kubectl_delete("McpServer", "near")
        await operator.resync.once("McpServer")
        assert not operator.store.list("McpServer")


async def test_foreign_secrets_are_neither_kept_nor_read(api: ApiServer, start: Start) -> None:
    ours = {meta.LABEL_MANAGED_BY: meta.MANAGED_BY}
    for name, labels in (("theirs", {}), ("ours", ours)):
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}}
        api.kubectl_apply({**body, "data": {"key": "czNjcjN0"}})
    async with start() as operator:
        await operator.resync.synced.wait()
        kept = {body["metadata"]["name"]: body.get("data") for body in operator.store.list("Secret")}
        assert not [asked for asked in api.asked if asked.path.endswith("/theirs")]
    assert kept == {"ours": {"key": "czNjcjN0"}}


async def test_a_difference_that_no_watch_told_is_owed(api: ApiServer, start: Start) -> None:
    """Until the stream brings it: the stuck stream is known by what LIST finds, too."""
    async with start("--watch-patience-seconds", "60") as operator:
        await operator.resync.synced.wait()
        servers = Stream("McpServer")
        observe, api.changed = api.changed, lambda *_: None
        api.kubectl_apply(resources.container("near", "image:1"))
        await operator.resync.once("McpServer")
        assert operator.streams.debt(servers) is not None
        assert operator.stuck() is None, "it has not been patient for long enough"
        api.changed = observe
        api.kubectl_apply(resources.container("near", "image:2"))
        assert operator.streams.debt(servers) is None


async def test_a_reconcile_that_does_not_end_is_told(api: ApiServer, start: Start) -> None:
    async with start() as operator:
        now = [0.0]
        operator._running = Running(clock=lambda: now[0])
        operator._running.began(Key("McpServer", "team-a", "far"))
        now[0] = STUCK_SECONDS - 1
        assert operator.stuck() is None
        now[0] = STUCK_SECONDS + 1
        assert operator.stuck() == "the reconcile of McpServer/team-a/far does not end"
        assert operator.longest_reconcile() == STUCK_SECONDS + 1
