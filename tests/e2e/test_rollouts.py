"""Rollouts of a proxy while clients of both eras call without pause: pods are replaced, and nothing is lost."""

import asyncio
from collections.abc import Callable

import pytest

from support.kubectl import Body, Namespace, eventually
from support.product import PROXY_IMAGE, tools
from support.resources import proxy, remote
from support.traffic import Crowd

CORE = {"team": "core"}
PODS = "mcp-operator.dev/proxy=tools"
CHANGES: list[Body] = [
    {"resources": {"requests": {"cpu": "60m", "memory": "96Mi"}}},
    {"resources": {"requests": {"cpu": "60m", "memory": "96Mi"}}, "image": f"docker.io/{PROXY_IMAGE}"},
]
"""Other resources; then another image, which is the same one under its whole name."""


def _uids(namespace: Namespace) -> set[str]:
    return {pod["metadata"]["uid"] for pod in namespace.pods(PODS)}


def _rolled_out(namespace: Namespace, old: set[str], replicas: int) -> bool:
    """Only new pods are there, all of them, and those that are ending are gone too."""
    pods = namespace.listed("pods", PODS)
    ready = [
        pod
        for pod in pods
        if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
    ]
    return len(pods) == len(ready) == replicas and not old & {pod["metadata"]["uid"] for pod in pods}


def _longest(crowd: Crowd) -> float:
    """Seconds of the longest call so far."""
    return max(tally.longest_seconds for tally in crowd.tallies)


@pytest.mark.parametrize(("replicas", "workers"), [(1, 1), (2, 2)])
def test_a_rollout_loses_nothing(
    namespace: Namespace, backend: Callable[..., str], replicas: int, workers: int
) -> None:
    """Other resources, then another image: no call fails, sessions go on, and streams are ended with a word."""
    target = backend("steady")
    namespace.apply(remote("steady", target, labels=CORE), proxy(selector=CORE, replicas=replicas, workers=workers))
    namespace.wait("mcpp", "tools", "Ready")
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: "steady_add" in tools(url))

    async def scenario() -> tuple[Crowd, float]:
        async with Crowd(url, "steady_add", {"a": 20, "b": 22}, "42", size=6, listens_again=True) as crowd:
            await crowd.more_calls(20)
            calm = _longest(crowd)
            for change in CHANGES:
                old = await asyncio.to_thread(_uids, namespace)
                changed = proxy(selector=CORE, replicas=replicas, workers=workers, **change)
                await asyncio.to_thread(namespace.apply, changed)
                await asyncio.to_thread(
                    eventually, lambda old=old: _rolled_out(namespace, old, replicas), timeout=150, every=0.5
                )
                await crowd.more_calls(5)
            for caller in crowd.callers:
                await caller.check_session()
        return crowd, calm

    crowd, calm = asyncio.run(scenario())
    print(f"{crowd.calls} calls, the longest {_longest(crowd):.2f} s; before the rollouts {calm:.2f} s")
    assert crowd.failures == []
    assert not any(tally.dropped for tally in crowd.tallies)
    assert sum(tally.ended_in_order for tally in crowd.tallies) > 0


def test_a_new_pod_is_ready_with_the_newest_configuration(namespace: Namespace, backend: Callable[..., str]) -> None:
    """Servers are added in the middle of a rollout: whoever has seen a new tool can call it, whichever pod answers."""
    target = backend("steady")
    namespace.apply(remote("steady", target, labels=CORE), proxy(selector=CORE, replicas=2))
    namespace.wait("mcpp", "tools", "Ready")
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: "steady_add" in tools(url))
    old = _uids(namespace)
    namespace.apply(proxy(selector=CORE, replicas=2, **CHANGES[0]))
    eventually(lambda: _uids(namespace) - old)
    namespace.apply(remote("fresh", target, labels=CORE))
    eventually(lambda: "fresh_hello" in tools(url))
    namespace.wait("mcpp", "tools", "Programmed")
    while not _rolled_out(namespace, old, 2):
        assert "fresh_hello" in tools(url)
    for pod in namespace.pods(PODS):
        assert "fresh_hello" in tools(f"http://{pod['status']['podIP']}:8080/mcp")
