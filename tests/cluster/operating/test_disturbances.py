"""What goes wrong between an operator and its API server, and that it passes without a restart.

the API server is away for a minute · 410 as an event and as an answer · an error event of another code
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from support import resources
from support.between import Between
from support.operators import RunningOperator

from .conftest import Until, World

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


async def _works(world: World, until: Until, namespace: str, name: str) -> float:
    """A new server gets its children and its status; the seconds."""
    await world.apply(namespace, resources.container(name, IMAGE))

    async def done() -> bool:
        status = (await world.get("mcpservers", namespace, name)).get("status") or {}
        return bool(status.get("observedGeneration") and await world.get("services", namespace, f"{name}-server"))

    return await until(done)


def _untroubled(operator: RunningOperator) -> None:
    assert operator.process.returncode is None
    own = [line for line in operator.lines if line["logger"].startswith("mcp_operator")]  # kopf shows why a watch ended
    assert "Traceback" not in json.dumps(own)


async def test_the_api_server_is_away_for_a_minute(world: World, namespace: str, until: Until) -> None:
    operator, _ = await _started(world, until, "--watch-patience-seconds", "10")
    await _works(world, until, namespace, "before")
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
    _untroubled(operator)


@pytest.mark.parametrize("event", [GONE, BROKEN], ids=["gone", "broken"])
async def test_an_error_in_a_watch_stream(world: World, namespace: str, until: Until, event: dict[str, Any]) -> None:
    operator, between = await _started(world, until)
    before = between.opened["mcpservers"]
    assert between.tell("mcpservers", {"type": "ERROR", "object": event}) == 1
    await until(lambda: between.opened["mcpservers"] > before)
    assert await _works(world, until, namespace, "after") < 30
    assert (await operator.ask("/healthz"))[0] == 200
    _untroubled(operator)


async def test_a_watch_that_is_answered_with_410(world: World, namespace: str, until: Until) -> None:
    operator, between = await _started(world, until)
    refusal = between.refuse(
        lambda asked: asked.watches and asked.plural == "mcpservers", 410, reason="Expired", times=2
    )
    between.cut("mcpservers")
    await until(lambda: refusal.left == 0)
    await until(lambda: between.watching("mcpservers"))
    assert await _works(world, until, namespace, "after") < 30
    assert await operator.metric("mcp_operator_watch_failures_total") >= 1
    _untroubled(operator)
