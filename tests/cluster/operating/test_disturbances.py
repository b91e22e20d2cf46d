"""What goes wrong between an operator and its API server, and that it passes without a restart.

the API server is away for a minute · 410 as an event, as an answer, in a LIST · an error event of another code · streams that break
429 with Retry-After · priority and fairness of a real API server · storms of conflicts · credentials refused for a while
"""

import json
import signal
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from support import resources
from support.between import Asked, Between
from support.operators import RunningOperator

from .conftest import SYSTEM, Until, World

IMAGE = "registry.invalid/server:1"
AWAY_SECONDS = 60.0
GONE = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "reason": "Expired",
    "code": 410,
    "message": "too old",
}
BROKEN = {**GONE, "reason": "InternalError", "code": 500, "message": "etcdserver: no leader"}


async def _started(world: World, until: Until, *flags: str) -> tuple[RunningOperator, Between]:
    operator = await world.operator(world.install(), *flags)
    await until(operator.is_ready, why=lambda: operator.lines[-5:])
    between = world.betweens["one"]
    await until(lambda: between.watching("mcpservers"))
    return operator, between


async def _works(world: World, until: Until, namespace: str, name: str) -> None:
    """A new server gets its children and its status."""
    await world.apply(namespace, resources.container(name, IMAGE))

    async def done() -> bool:
        status = (await world.get("mcpservers", namespace, name)).get("status") or {}
        return bool(status.get("observedGeneration") and await world.get("services", namespace, f"{name}-server"))

    await until(done)


def _untroubled(operator: RunningOperator) -> None:
    assert operator.process.returncode is None
    _told_no_traceback(operator)


def _told_no_traceback(operator: RunningOperator) -> None:
    own = [line for line in operator.lines if line["logger"].startswith("mcp_operator")]  # kopf shows why a watch ended
    assert "Traceback" not in json.dumps(own)


async def test_the_api_server_is_away_for_a_minute(world: World, namespace: str, until: Until) -> None:
    operator, _ = await _started(world, until, "--watch-patience-seconds", "10")
    once = {"interval": "1h", "timeout": "3s", "failureThreshold": 1}
    await world.apply(namespace, resources.remote("before", "http://127.0.0.1:9/mcp", health=once))
    await until(lambda: _is_refused(world, namespace, "before"))
    before = await world.get("mcpservers", namespace, "before")
    world.plane.stop_api()
    losses: Callable[[], Any] = lambda: operator.metric("mcp_operator_leadership_losses_total")  # noqa: E731
    health: list[int] = []

    async def long_enough() -> bool:
        health.append((await operator.ask("/healthz"))[0])
        return False

    with pytest.raises(AssertionError, match="not true after"):
        await until(long_enough, within=AWAY_SECONDS)
    world.plane.start_api()
    assert set(health) == {200}, "an API server that is away is no reason to be restarted"
    assert await losses() == 1
    await until(operator.is_ready, why=lambda: operator.lines[-5:])
    await _works(world, until, namespace, "after")
    assert (await world.get("mcpservers", namespace, "before"))["metadata"]["resourceVersion"] == before["metadata"][
        "resourceVersion"
    ], "nothing of it was written again"
    _untroubled(operator)


async def _is_refused(world: World, namespace: str, name: str) -> bool:
    status = (await world.get("mcpservers", namespace, name)).get("status") or {}
    return any(c["type"] == "Ready" and c["reason"] == "ConnectionRefused" for c in status.get("conditions") or ())


@pytest.mark.parametrize("event", [GONE, BROKEN], ids=["gone", "broken"])
async def test_an_error_in_a_watch_stream(world: World, namespace: str, until: Until, event: dict[str, Any]) -> None:
    operator, between = await _started(world, until)
    before = between.opened["mcpservers"]
    assert between.tell("mcpservers", {"type": "ERROR", "object": event}) == 1
    await until(lambda: between.opened["mcpservers"] > before)
    await _works(world, until, namespace, "after")
    assert (await operator.ask("/healthz"))[0] == 200
    _untroubled(operator)


async def test_streams_that_end_leave_no_others_behind(world: World, namespace: str, until: Until) -> None:
    """One that fails has all begin anew: the old ones would stay open beside the new, and no process would end with them."""
    operator, between = await _started(world, until)
    kinds = {"mcpproxies", "mcproutes", "deployments", "services", "pods", "configmaps", "secrets", "namespaces"}
    await until(lambda: kinds <= between.opened.keys())
    for round_ in range(3):
        before = between.opened.copy()
        await until(lambda: between.tell("mcpservers", {"type": "ERROR", "object": BROKEN}) == 1)
        await until(lambda before=before: all(between.opened[kind] > before[kind] for kind in before))
        await until(lambda before=before: {kind: between.watching(kind) for kind in before} == dict.fromkeys(before, 1))
        await _works(world, until, namespace, f"after{round_}")
    operator.signal(signal.SIGTERM)
    await until(lambda: operator.process.returncode is not None, why=lambda: operator.lines[-5:])
    assert operator.process.returncode == 0
    _told_no_traceback(operator)


async def test_a_watch_that_is_answered_with_410(world: World, namespace: str, until: Until) -> None:
    operator, between = await _started(world, until)
    refusal = between.refuse(
        lambda asked: asked.watches and asked.plural == "mcpservers", 410, reason="Expired", times=2
    )
    between.cut("mcpservers")
    await until(lambda: refusal.left == 0)
    await until(lambda: between.watching("mcpservers"))
    await _works(world, until, namespace, "after")
    assert await operator.metric("mcp_operator_watch_failures_total") >= 1
    _untroubled(operator)


async def test_streams_that_break(world: World, namespace: str, until: Until) -> None:
    operator, between = await _started(world, until)
    for round_ in range(3):
        before = between.opened["mcpservers"]
        between.cut()
        await until(lambda before=before: between.opened["mcpservers"] > before)
        await _works(world, until, namespace, f"after{round_}")
    _untroubled(operator)


async def test_a_deletion_while_the_stream_begins_anew(world: World, namespace: str, until: Until) -> None:
    """No stream ever tells of it: what the operator remembers is put right all the same."""
    operator, between = await _started(world, until, "--watch-patience-seconds", "3")
    await _works(world, until, namespace, "gone")
    refusal = between.refuse(lambda asked: asked.watches and asked.plural == "mcpservers", 410, reason="Expired")
    between.cut("mcpservers")
    await until(lambda: refusal.used)
    await world.admin.delete(f"/apis/mcp-operator.dev/v1alpha1/namespaces/{namespace}/mcpservers/gone")
    between.relent()
    count = lambda: operator.metric("mcp_operator_objects", kind="McpServer")  # noqa: E731
    before = await count()

    async def forgotten() -> bool:
        return await count() < max(before, 1)

    await until(forgotten)
    assert (await operator.ask("/healthz"))[0] == 200, "that is no stuck watch"
    _untroubled(operator)


async def test_a_list_that_expires_between_its_pages(world: World, namespace: str, until: Until) -> None:
    token = world.install()
    await world.apply(namespace, *(resources.container(f"s{number}", IMAGE) for number in range(3)))
    operator = await world.operator(token)
    world.betweens["one"].refuse(
        lambda asked: "limit" in asked.query and asked.plural == "mcpservers", 410, reason="Expired", times=2
    )
    await until(operator.is_ready, why=lambda: operator.lines[-5:])
    await _works(world, until, namespace, "after")
    _untroubled(operator)


async def test_an_api_server_that_throttles(world: World, namespace: str, until: Until) -> None:
    """Retry-After is heeded: each refused key waits for as long as it was told."""
    operator, between = await _started(world, until)
    refusal = between.refuse(
        lambda asked: asked.writes and asked.plural != "leases", 429, reason="TooManyRequests", times=40, retry_after=2
    )
    await world.apply(namespace, *(resources.container(f"s{number}", IMAGE) for number in range(10)))
    await until(lambda: refusal.left == 0 or len(between.writes) > 10)
    await until(lambda: _all_have_services(world, namespace, 10))
    refused: dict[str, list[float]] = {}
    for asked in between.asked:
        if asked.status == 429:
            refused.setdefault(asked.path, []).append(asked.at)
    children = [path for path in refused if "/events" not in path]
    assert children
    assert all(pause >= 1.9 for path in children for pause in _pauses(refused[path])), refused
    assert await operator.metric("mcp_operator_api_requests_total", code="429") >= 10
    _untroubled(operator)


def _pauses(times: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(times)]


async def _all_have_services(world: World, namespace: str, count: int) -> bool:
    return len(await world.names("services", namespace)) == count


async def test_priority_and_fairness_of_the_api_server(world: World, namespace: str, until: Until) -> None:
    """The real thing: a priority level in which one request at a time is answered and all others, the Lease's too, are refused."""
    operator, between = await _started(world, until)
    level = {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "jail"},
        "spec": {
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": 0,
                "lendablePercent": 0,
                "borrowingLimitPercent": 0,
                "limitResponse": {"type": "Reject"},
            },
        },
    }
    account = {"kind": "ServiceAccount", "serviceAccount": {"name": "mcp-operator", "namespace": SYSTEM}}
    resource_rules = [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    ]
    schema = {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": "jail"},
        "spec": {
            "priorityLevelConfiguration": {"name": "jail"},
            "matchingPrecedence": 2,
            "rules": [{"subjects": [account], "resourceRules": resource_rules}],
        },
    }
    world.plane.kubectl("apply", "-f", "-", body={"apiVersion": "v1", "kind": "List", "items": [level, schema]})
    try:
        between.cut()
        await world.apply(namespace, *(resources.container(f"s{number}", IMAGE) for number in range(20)))
        await until(lambda: sum(asked.status == 429 for asked in between.asked) >= 10)
        await until(lambda: _all_have_services(world, namespace, 20), within=150, why=lambda: operator.lines[-5:])
        assert (await operator.ask("/healthz"))[0] == 200
    finally:
        world.plane.kubectl("delete", "flowschema/jail", "prioritylevelconfiguration/jail")
    await _works(world, until, namespace, "after")
    _untroubled(operator)


async def test_a_storm_of_conflicts(world: World, namespace: str, until: Until) -> None:
    operator, between = await _started(world, until)

    def children(asked: Asked) -> bool:
        return asked.method == "PATCH" and asked.plural in {"deployments", "services", "mcpservers"}

    refusal = between.refuse(children, 409, reason="Conflict", times=60)
    await world.apply(namespace, *(resources.container(f"s{number}", IMAGE) for number in range(10)))
    await until(lambda: refusal.left == 0)
    await until(lambda: _all_have_services(world, namespace, 10))
    assert await operator.metric("controller_reconcile_total", kind="McpServer", result="error") >= 10
    _untroubled(operator)


async def test_credentials_that_are_refused_for_a_while(world: World, namespace: str, until: Until) -> None:
    """As when the API server starts before it can check tokens."""
    operator, between = await _started(world, until)
    refusal = between.refuse(lambda asked: asked.plural != "leases", 401, reason="Unauthorized", times=60)
    between.cut()
    await world.apply(namespace, resources.container("meanwhile", IMAGE))
    await until(lambda: refusal.used >= 10)
    between.relent()
    await until(lambda: _all_have_services(world, namespace, 1))
    await until(lambda: between.watching("mcpservers"))
    await _works(world, until, namespace, "after")
    _untroubled(operator)
