"""Health of servers against a real API server, with real MCP servers and real proxies on loopback.

canary: passes, is told wrong by another expectation, fails in a server that is discovered all the same, Events
replicas: one of two does not reach a server; they are the first to notice that one is gone
restarts: the limit, growing pauses, a reset by `kubectl annotate`
an unchanged world writes nothing while probes and canary calls go on · what the API server refuses of a canary
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastmcp import FastMCP
from fastmcp.exceptions import ToolError

from mcp_operator.api import meta
from mcp_operator.probe.state import SAMPLES
from support import resources
from support.backends import ServedMCP, dead_port, eventually
from support.liveworld import World

CORE = {"team": "core"}
QUICK = {"interval": "200ms", "timeout": "30s", "failureThreshold": 2}


def _served() -> ServedMCP:
    mcp: FastMCP[Any] = FastMCP("demo", version="1")

    @mcp.tool
    def add(a: int, b: int) -> int:
        return a + b

    @mcp.tool
    def query() -> str:
        raise ToolError("the database is away")

    return ServedMCP(mcp)


def _canary(tool: str = "add", **expect: Any) -> dict[str, Any]:
    return {"tool": tool, "arguments": {"a": 1, "b": 2} if tool == "add" else {}, "expect": expect, "interval": "1s"}


def _proxy(world: World, **spec: Any) -> dict[str, Any]:
    return resources.proxy(selector=CORE, service={"port": world.port}, **spec)


async def test_canary(world: World) -> None:
    async with _served() as served, world.operating():
        far = lambda **canary: resources.remote("far", served.url, labels=CORE, health=QUICK, **canary)  # noqa: E731
        await world.apply(far(canary=_canary(contains="3", structured={"result": 3})), _proxy(world))
        await world.comes("far", "Ready", "True", "Ready")
        await world.comes("far", "CanaryPassing", "Unknown", "NotCalled")  # no replica runs yet
        await world.runs_proxy("tools", "127.0.0.2")
        await world.comes("far", "CanaryPassing", "True", "CallPassed")
        assert await world.message("far", "CanaryPassing") == (
            f"add answers as expected through McpProxy {world.namespace}/tools at /mcp"
        )
        assert "tools/call" in served.methods

        await world.apply(far(canary=_canary(contains="4")))
        await world.comes("far", "CanaryPassing", "False", "UnexpectedAnswer")
        assert "does not contain what expect.contains says" in await world.message("far", "CanaryPassing")
        await world.comes("far", "Ready", "True", "Ready")

        await world.apply(far(canary=_canary("query")))
        await world.comes("far", "CanaryPassing", "False", "CallFailed")
        assert "far_query through McpProxy" in await world.message("far", "CanaryPassing")
        assert "the database is away" in await world.message("far", "CanaryPassing")
        assert await world.condition("far", "Ready") == ("True", "Ready"), "it is discovered all the same"

        await world.apply(far(canary={**_canary("query"), "required": True}))
        await world.comes("far", "Ready", "False", "CallFailed")
        await world.apply(far())
        await world.comes("far", "CanaryPassing", "", "")
        await world.comes("far", "Ready", "True", "Ready")

        async def told() -> bool:
            return {"CallPassed", "UnexpectedAnswer", "CallFailed"} <= set(await world.events("far"))

        await eventually(told)
        assert world.counted("mcp_operator_canary_calls_total", outcome="ok") >= 1


async def test_a_replica_that_does_not_reach_a_server(world: World) -> None:
    """Two real proxies of one configuration; at one of them the server's address leads nowhere."""
    async with _served() as served, world.operating():
        await world.apply(
            resources.remote("far", served.url, labels=CORE, health=QUICK, retry={"attempts": 1}),
            _proxy(world, replicas=2),
        )
        await world.runs_proxy("tools", "127.0.0.2", "127.0.0.3")
        await world.comes("far", "Ready", "True", "Ready")

        nowhere = f"http://127.0.0.1:{dead_port()}/mcp"

        def astray(pod: str, config: dict[str, Any]) -> dict[str, Any]:
            if pod.endswith("1"):
                config["servers"][0]["url"] = nowhere
            return config

        await world.synced("tools", astray)
        await world.comes("far", "Healthy", "False", "PartlyReachable")
        assert "not 1 of 2 replicas of McpProxy" in await world.message("far", "Ready")
        assert "tools-proxy-1 (ConnectionRefused:" in await world.message("far", "Ready")
        await world.synced("tools")
        await world.comes("far", "Ready", "True", "Ready")


async def test_a_server_that_dies_while_the_operator_trusts_the_replicas(world: World) -> None:
    """They notice first, as their streams break: the operator looks for itself before it says who reaches the server."""
    slow = {"interval": "10s", "timeout": "30s", "failureThreshold": 3}
    async with _served() as served, world.operating():
        await world.apply(
            resources.remote("far", served.url, labels=CORE, health=slow, retry={"attempts": 1}),
            _proxy(world, replicas=2),
        )
        await world.runs_proxy("tools", "127.0.0.2", "127.0.0.3")
        await world.comes("far", "Ready", "True", "Ready")
        said: list[tuple[str, str]] = []

        async def says(status: str) -> bool:
            now = await world.condition("far", "Healthy")
            said.extend([now] if now not in said[-1:] else [])
            return now[0] == status

        # The first few probes follow one another soon: one that is under way would be cut in the middle.
        await eventually(lambda: world.counted("mcp_operator_probes_total", kind="McpServer", outcome="ok") >= SAMPLES)
        assert await says("True")
        await served.stop()
        await eventually(lambda: says("False"), 60)
        assert said == [("True", "Answering"), ("False", "ConnectionRefused")]
        await served.start()
        await eventually(lambda: says("True"), 60)


async def test_restarts(world: World) -> None:
    """It is up and does not answer: restarted after N failures, not at once again, up to the limit; then a reset."""
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    served = _served()
    async with served, world.operating():
        world.hosts[f"near-server.{world.namespace}.svc"] = "127.0.0.1"
        container = {"image": "none", "port": served.port, "path": "/mcp"}
        health = {**QUICK, "maxRestarts": 2}
        near = resources.container("near", "none", labels=CORE, health=health)
        near["spec"]["container"] |= container
        await world.apply(near)
        await eventually(lambda: world.get("deployments", "near-server"))
        await world.rolled_out("near-server", addresses={"near-server-0": "127.0.0.9"}, up_since=long_ago)
        await world.comes("near", "Ready", "True", "Ready")

        async def restarts() -> int:
            return int((await world.get("mcpservers", "near"))["status"].get("restarts", 0))

        async def ordered() -> str | None:
            template = (await world.get("deployments", "near-server"))["spec"]["template"]["metadata"]
            found: str | None = (template.get("annotations") or {}).get(meta.ANNOTATION_RESTARTED_AT)
            return found

        async def restarted(count: int) -> None:
            async def holds() -> bool:
                return await restarts() == count

            await eventually(holds, 60)
            await world.rolled_out("near-server", addresses={"near-server-0": "127.0.0.9"}, up_since=long_ago)

        await served.stop()
        await restarted(1)
        first = await ordered()
        assert first is not None
        assert (await world.get("mcpservers", "near"))["status"]["restartedAt"] == first.replace("+00:00", "Z")
        assert await world.condition("near", "Stalled") == ("", "")
        probes = world.counted("mcp_operator_probes_total", kind="McpServer", outcome="ConnectionRefused")
        await eventually(
            lambda: (
                world.counted("mcp_operator_probes_total", kind="McpServer", outcome="ConnectionRefused") > probes + 2
            )
        )

        await restarted(2)
        second = await ordered()
        assert second is not None
        pause = datetime.fromisoformat(second) - datetime.fromisoformat(first)
        assert pause >= timedelta(seconds=10), "however often it fails meanwhile"

        await world.comes("near", "Stalled", "True", "RestartLimitReached")  # after a pause of twice as long
        assert await ordered() == second
        await world.annotate("mcpservers", "near", reset_restarts="1")

        async def again() -> bool:
            return await ordered() != second

        await eventually(again)
        await served.start()  # before the next pause is over
        await restarted(1)
        assert await world.condition("near", "Stalled") == ("", "")
        await world.comes("near", "Ready", "True", "Ready")

        async def told() -> bool:
            events = await world.events("near")
            return events.count("Restarting") == 3 and {"RestartLimitReached", "RestartsReset"} <= set(events)

        await eventually(told)
        assert world.counted("mcp_operator_server_restarts_total") == 3


async def test_an_unchanged_world_writes_nothing(world: World) -> None:
    """Probes and canary calls go on; no resourceVersion moves. An operator that starts anew writes nothing either."""
    async with _served() as served:
        async with world.operating():
            await world.apply(
                resources.remote("far", served.url, labels=CORE, health=QUICK, canary=_canary(contains="3")),
                resources.remote("alone", served.url, health=QUICK),
                _proxy(world),
            )
            await world.runs_proxy("tools", "127.0.0.2")
            await world.comes("far", "CanaryPassing", "True", "CallPassed")
            await world.comes("tools", "Ready", "True", "Ready", "mcpproxies")
            await _rests(world)
            before = await _versions(world)
            await _goes_on(world, served)
            assert await _versions(world) == before
        async with world.operating():
            await _goes_on(world, served)
            assert await _versions(world) == before


async def _goes_on(world: World, served: ServedMCP) -> None:
    """Many more probes of the server that no proxy serves, looks of the proxy at the other one, and some calls."""
    probed = lambda: world.counted("mcp_operator_probes_total", kind="McpServer", outcome="ok")  # noqa: E731
    called = lambda: world.counted("mcp_operator_canary_calls_total", outcome="ok")  # noqa: E731
    listed = lambda: served.methods.count("tools/list")  # noqa: E731
    probes, calls, lists = probed() + 15, called() + 3, listed() + 30
    await eventually(lambda: probed() >= probes and called() >= calls and listed() >= lists, 60)


async def _rests(world: World) -> None:
    """The latency has settled, and whatever was on its way is written."""
    assert world.operator is not None
    probed = lambda: world.counted("mcp_operator_probes_total", kind="McpServer", outcome="ok")  # noqa: E731
    until = probed() + 12
    await eventually(lambda: probed() >= until, 60)
    await world.operator.queue.join()


async def _versions(world: World) -> dict[str, tuple[str, Any]]:
    """resourceVersion and status of all that the operator writes; the latter only tells what a failure is about."""
    named = {
        "mcpservers": ["far", "alone"],
        "mcpproxies": ["tools"],
        "deployments": ["tools-proxy"],
        "configmaps": ["tools-proxy-config"],
        "secrets": ["tools-proxy-secrets"],
        "services": ["tools-proxy"],
    }
    bodies = {f"{plural}/{name}": await world.get(plural, name) for plural, names in named.items() for name in names}
    return {name: (body["metadata"]["resourceVersion"], body.get("status")) for name, body in bodies.items()}


@pytest.mark.parametrize(
    ("canary", "words"),
    [
        ({"arguments": {}}, "tool"),
        ({"tool": "a", "expect": {"matches": "("}}, "canary.expect.matches"),
        ({"tool": "a", "interval": "10ms"}, "must be a duration from 1s to 24h"),
        ({"tool": "a", "expect": {"structured": []}}, "structured"),
        ({"tool": "a", "arguments": "x"}, "arguments"),
    ],
)
def test_what_is_refused_of_a_canary(plane: Any, canary: dict[str, Any], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        plane.kubectl("apply", "-f", "-", body=resources.remote("far", "http://far.example.com", canary=canary))


def test_arguments_of_any_shape_stay_as_they_are(plane: Any) -> None:
    arguments = {"a": {"b": [1, "x", {"c": True}]}, "n": 1.5}
    canary = {
        "tool": "a",
        "arguments": arguments,
        "expect": {"matches": r"^\d+$", "structured": {"deep": {"er": [None]}}},
    }
    body = resources.remote("free-form", "http://far.example.com", canary=canary)
    plane.kubectl("apply", "-f", "-", body=body)
    live = json.loads(plane.kubectl("get", "mcps", "free-form", "-o", "json"))["spec"]["canary"]
    assert live["arguments"] == arguments
    assert live["expect"]["structured"] == {"deep": {"er": [None]}}
    assert (live["interval"], live["timeout"], live["required"]) == ("1m", "10s", False)
    plane.kubectl("delete", "mcps", "free-form", "--wait=false")


def test_columns(plane: Any) -> None:
    """`-o wide` has the catalogue."""
    body = resources.remote("wide", "http://far.example.com")
    plane.kubectl("apply", "-f", "-", body=body)
    status = {"tools": {"count": 2, "names": ["add", "query"], "digest": "sha256:abc"}, "restarts": 1}
    patch = {"status": status}
    plane.kubectl("patch", "mcps", "wide", "--subresource=status", "--type=merge", "-p", json.dumps(patch))
    header, row = plane.kubectl("get", "mcps", "wide", "-o", "wide").splitlines()
    assert header.split() == [
        *("NAME", "READY", "KIND", "TOOLS", "LATENCY", "AGE"),
        *("REASON", "MESSAGE", "CANARY", "RESTARTS", "DIGEST", "NAMES"),
    ]
    assert "sha256:abc" in row
    assert '["add","query"]' in row
    plane.kubectl("delete", "mcps", "wide", "--wait=false")
