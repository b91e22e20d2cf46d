"""Two operator processes and one API server: who works, and that nothing is done twice.

the leader is killed in mid-work · the leader is stopped and wakes up when another leads · it ends in order · it may not be reached
"""

import json
import signal
from collections import Counter
from typing import Any

from support import resources
from support.between import Asked

from .conftest import Until, World

SERVERS = 40
IMAGE = "registry.invalid/server:1"


def _servers(count: int, prefix: str = "s") -> list[dict[str, Any]]:
    return [resources.container(f"{prefix}{number}", IMAGE) for number in range(count)]


def _children(world: World, name: str) -> Counter[str]:
    """Paths of the children that an operator wrote, and how often."""
    return Counter(asked.path for asked in world.betweens[name].writes if _makes_a_child(asked))


def _makes_a_child(asked: Asked) -> bool:
    return asked.writes and asked.plural in {"deployments", "services"}


async def _converged(world: World, namespace: str, count: int) -> bool:
    servers = await world.listed("mcpservers", namespace)
    told = [s for s in servers if (s.get("status") or {}).get("observedGeneration") == s["metadata"]["generation"]]
    return len(told) == count == len(await world.names("services", namespace))


async def _told(world: World, namespace: str, count: int) -> bool:
    """An Event has come of each server."""
    return len({event["involvedObject"]["name"] for event in await _events(world, namespace)}) == count


async def _events(world: World, namespace: str) -> list[dict[str, Any]]:
    return [e for e in await world.listed("events", namespace) if e["source"].get("component") == "mcp-operator"]


async def _pair(world: World, until: Until) -> tuple[Any, Any]:
    token = world.install()
    one = await world.operator(token, name="one")
    await until(one.is_ready, why=lambda: one.lines[-5:])
    two = await world.operator(token, name="two")
    await until(lambda: two.said("standing by"), why=lambda: two.lines[-5:])
    assert (await two.ask("/healthz"))[0] == 200
    assert (await two.ask("/readyz")) == (503, "standing by: another process leads")
    return one, two


async def test_a_leader_killed_in_mid_work(world: World, namespace: str, until: Until) -> None:
    one, two = await _pair(world, until)
    await world.apply(namespace, *_servers(SERVERS))
    await until(lambda: len(_children(world, "one")) >= 10)
    one.signal(signal.SIGKILL)
    await one.process.wait()
    by_one = _children(world, "one")
    assert len(by_one) < 2 * SERVERS, "it was killed too late for this test"
    await until(two.is_ready, why=lambda: two.lines[-5:])
    assert await world.holder() == "two"
    await until(lambda: _converged(world, namespace, SERVERS))
    by_two = _children(world, "two")
    assert not by_one.keys() & by_two.keys(), "what one had done was not done again"
    sent_by_one = {asked.path for asked in world.betweens["one"].sent if _makes_a_child(asked)}
    assert len(sent_by_one | by_two.keys()) == 2 * SERVERS
    await _nothing_twice(world, namespace)
    assert await _metric_of_leaders(two) == 1


async def _metric_of_leaders(operator: Any) -> float:
    return float(await operator.metric("mcp_operator_leader"))


async def _nothing_twice(world: World, namespace: str) -> None:
    """One write made each child, one Event told each transition."""
    for plural in ("deployments", "services"):
        for body in await world.listed(plural, namespace):
            managers = [entry["manager"] for entry in body["metadata"]["managedFields"]]
            assert managers == ["mcp-operator"], body["metadata"]["name"]
            assert body["metadata"].get("generation", 1) == 1
    events = await _events(world, namespace)
    assert events
    told = Counter((e["involvedObject"]["name"], e["reason"], e["message"]) for e in events)
    assert [what for what, count in told.items() if count > 1] == []
    assert all(event["count"] == 1 for event in events)


async def test_a_leader_that_was_stopped_and_wakes_up(world: World, namespace: str, until: Until) -> None:
    """As after a pause of its machine: it finds that another leads before it writes anything."""
    one, two = await _pair(world, until)
    await world.apply(namespace, *_servers(5))
    await until(lambda: _converged(world, namespace, 5))
    await until(lambda: _told(world, namespace, 5))  # a request that had begun would end when it wakes up
    one.signal(signal.SIGSTOP)
    assert (await one.ask("/healthz", seconds=1))[0] == 0, "an event loop that does not turn answers nobody"
    await world.apply(namespace, *_servers(10))
    await until(two.is_ready)
    await until(lambda: _converged(world, namespace, 10))
    before = len(world.betweens["one"].writes)
    one.signal(signal.SIGCONT)
    await until(lambda: one.said("standing by: two leads"), why=lambda: one.lines[-5:])
    assert [asked.path for asked in world.betweens["one"].writes[before:]] == []
    await _nothing_twice(world, namespace)
    assert (await one.ask("/healthz"))[0] == 200
    assert one.process.returncode is None, "it stands by in the same process"
    assert await one.metric("mcp_operator_leadership_losses_total") == 1


async def test_a_leader_that_ends_in_order_is_followed_at_once(world: World, namespace: str, until: Until) -> None:
    one, two = await _pair(world, until)
    one.signal(signal.SIGTERM)
    assert await one.process.wait() == 0
    assert await world.holder() != "one", "nobody has to wait until it expires"
    await until(lambda: one.said("released the lease"))
    await until(two.is_ready)
    assert await world.holder() == "two"


async def test_a_leader_that_is_cut_off_steps_down_and_comes_back(world: World, namespace: str, until: Until) -> None:
    """Its connections fail, those of the other do not: the other leads, and nobody restarts."""
    one, two = await _pair(world, until)
    world.betweens["one"].refuse(lambda _: True, 503, reason="ServiceUnavailable")
    await until(two.is_ready)
    world.betweens["one"].relent()
    await until(lambda: one.said("standing by: two leads"))
    await world.apply(namespace, *_servers(5))
    await until(lambda: _converged(world, namespace, 5))
    assert _children(world, "one") == Counter()
    two.signal(signal.SIGTERM)
    await until(one.is_ready)
    await world.apply(namespace, *_servers(6))
    await until(lambda: _converged(world, namespace, 6))
    assert json.dumps(one.lines).count("Traceback") == 0
