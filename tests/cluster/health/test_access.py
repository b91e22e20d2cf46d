"""Who may call a proxy, from the resources to real proxies on loopback: closed while a Secret is missing, open to whom it names.

missing, created, renewed, deleted: conditions and what callers are told · the operator's own probe and canary get in, with the
rights for just that · without its stores a proxy is not started, and one that runs keeps them, but lets in only whom it shall
"""

from typing import Any

import httpx2
from fastmcp import FastMCP

from support import resources
from support.backends import ServedMCP, eventually
from support.liveworld import World

CORE = {"team": "core"}
QUICK = {"interval": "500ms", "timeout": "30s", "failureThreshold": 2}
ADDRESS = "127.0.0.31"
FIRST, SECOND = "first-key-of-the-app", "second-key-of-the-app"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


def served() -> ServedMCP:
    mcp: FastMCP[Any] = FastMCP("demo", version="1")

    @mcp.tool
    def add(a: int, b: int) -> int:
        return a + b

    return ServedMCP(mcp)


def keys(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": data}


def proxy(world: World, **spec: Any) -> dict[str, Any]:
    access = {"apiKeySecrets": [{"name": "keys"}]}
    return resources.proxy(selector=CORE, service={"port": world.port}, authentication=access, **spec)


async def answer(world: World, key: str | None = None) -> int:
    """The status that a caller with this key meets."""
    headers = {"accept": "application/json, text/event-stream"} | ({} if key is None else {"x-api-key": key})
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        return (await client.post(f"http://{ADDRESS}:{world.port}/mcp", json=HELLO, headers=headers)).status_code


async def come_to_meet(world: World, wanted: dict[str | None, int]) -> None:
    """Wait until callers, by their keys, meet these statuses, while the pods are given what the operator writes."""

    async def holds() -> bool:
        await world.synced("tools")
        return {key: await answer(world, key) for key in wanted} == wanted

    await eventually(holds, 60)


async def test_closed_to_all_but_whom_the_secret_names(world: World) -> None:
    async with served() as backend, world.operating():
        far = resources.remote("far", backend.url, labels=CORE, health=QUICK)
        await world.apply(far, proxy(world))
        await world.comes("tools", "ResolvedRefs", "False", "RefNotFound", "mcpproxies")
        await world.runs_proxy("tools", ADDRESS)
        await world.comes("tools", "Healthy", "True", "Answering", "mcpproxies")  # by the operator's own key
        assert [await answer(world), await answer(world, FIRST)] == [401, 401]

        await world.apply(keys(app=FIRST))
        await come_to_meet(world, {None: 401, FIRST: 200, SECOND: 401})
        await world.comes("tools", "Ready", "True", "Ready", "mcpproxies")

        await world.apply(keys(app=SECOND))
        await come_to_meet(world, {FIRST: 401, SECOND: 200})

        await world.kube.delete(world.path("secrets", "keys"))
        await world.comes("tools", "ResolvedRefs", "False", "RefNotFound", "mcpproxies")
        await come_to_meet(world, {None: 401, FIRST: 401, SECOND: 401})


async def test_a_canary_gets_in_and_may_call_its_tool_alone(world: World) -> None:
    """Although no policy permits anything to anybody."""
    policies = {"policies": [{"inline": "forbid (principal, action, resource);"}]}
    async with served() as backend, world.operating():
        canary = {"tool": "add", "arguments": {"a": 1, "b": 2}, "expect": {"contains": "3"}, "interval": "1s"}
        far = resources.remote("far", backend.url, labels=CORE, health=QUICK, canary=canary)
        await world.apply(keys(app=FIRST), far, proxy(world, authorization=policies))
        await world.runs_proxy("tools", ADDRESS)
        await world.comes("far", "CanaryPassing", "True", "CallPassed")


async def test_without_its_stores_a_proxy_is_not_started(world: World) -> None:
    source = lambda key: {"secretKeyRef": {"name": "stores", "key": key}}  # noqa: E731
    stores = {"redis": source("redis"), "encryptionKeys": [source("key")]}
    async with world.operating():
        await world.apply(keys(app=FIRST), proxy(world, stores=stores, rest={}, replicas=2))
        await world.comes("tools", "Programmed", "False", "RefNotFound", "mcpproxies")
        assert await world.get("deployments", "tools-proxy") == {}
        data = {"redis": "redis://:password@redis:6379/0", "key": "k" * 32}
        await world.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "stores"}, "stringData": data})
        await eventually(lambda: world.get("deployments", "tools-proxy"), 60)
        said = str((await world.get("mcpproxies", "tools"))["status"])
        assert "password" not in said


async def test_who_may_call_changes_while_a_store_is_missing(world: World) -> None:
    source = lambda key: {"secretKeyRef": {"name": "stores", "key": key}}  # noqa: E731
    stores = {"redis": source("redis"), "encryptionKeys": [source("key")]}
    data = {"redis": "redis://:password@127.0.0.1:1/0", "key": "k" * 32}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "stores"}, "stringData": data}
    async with served() as backend, world.operating():
        far = resources.remote("far", backend.url, labels=CORE, health=QUICK)
        await world.apply(keys(app=FIRST), secret, far, proxy(world, stores=stores))
        await world.runs_proxy("tools", ADDRESS)
        await world.comes("tools", "Ready", "True", "Ready", "mcpproxies")
        assert await answer(world, FIRST) == 200

        await world.kube.delete(world.path("secrets", "stores"))
        await world.comes("tools", "Programmed", "False", "RefNotFound", "mcpproxies")
        await world.apply(keys(app=SECOND))
        await come_to_meet(world, {FIRST: 401, SECOND: 200})
        assert data["redis"] in (await world.plain_secret("tools-proxy-secrets")).values()
        said = str((await world.get("mcpproxies", "tools"))["status"])
        assert "spec.stores stay as they were" in said
        assert "password" not in said

        async def ready() -> bool:
            await world.synced("tools")
            return await world.condition("tools", "Ready", "mcpproxies") == ("True", "Ready")

        await world.apply(secret)
        await eventually(ready, 60)
        assert await answer(world, SECOND) == 200
