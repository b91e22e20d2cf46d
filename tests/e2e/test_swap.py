"""The swap, as clients see it: 20 of them with 8 clients calling without pause. `make bench-swap` runs this alone."""

import asyncio
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastmcp import Client

from support.kubectl import Namespace, eventually
from support.product import tools
from support.resources import proxy, remote
from support.traffic import Crowd

CORE = {"team": "core"}
SWAPS = 20
CALLS_BETWEEN = 10
REPORT = Path(__file__).parents[2] / "build" / "bench" / "swap.json"


def test_twenty_swaps_lose_nothing(namespace: Namespace, backend: Callable[..., str]) -> None:
    """No call fails, no session drops, every client hears of the swaps, no pod restarts.

    The times are printed and written to build/bench/swap.json: a figure of the machine, not a thing to assert.
    """
    target = backend("steady")
    namespace.apply(remote("steady", target, labels=CORE), proxy(selector=CORE, replicas=2))
    namespace.wait("mcpp", "tools", "Ready")
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: "steady_add" in tools(url))
    selector = "mcp-operator.dev/proxy=tools"
    before = [
        (p["metadata"]["uid"], p["status"]["containerStatuses"][0]["restartCount"]) for p in namespace.pods(selector)
    ]

    crowd, seconds = asyncio.run(_swap_under_load(namespace, url, target))

    after = [
        (p["metadata"]["uid"], p["status"]["containerStatuses"][0]["restartCount"]) for p in namespace.pods(selector)
    ]
    report = _report(crowd, seconds)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))
    assert crowd.failures == []
    assert report["dropped_sessions"] == 0
    assert after == before
    deaf = [tally.era for tally in crowd.tallies if tally.list_changed < 1]
    assert deaf == [], "every client hears of the swaps"


async def _swap_under_load(namespace: Namespace, url: str, target: str) -> tuple[Crowd, list[float]]:
    """Add a server and remove it, again and again; the seconds from apply to the new tool's first answer.

    Between two swaps every client calls some more times: the kubelet looks at a pod about once a second, so a swap right
    after another waits for up to that long.
    """
    seconds = []
    async with Crowd(url, "steady_add", {"a": 20, "b": 22}, "42", size=8) as crowd, Client(url, timeout=20) as observer:
        for number in range(SWAPS):
            await crowd.more_calls(CALLS_BETWEEN)
            heard = [tally.list_changed for tally in crowd.tallies]
            applied = time.monotonic()
            await asyncio.to_thread(namespace.apply, remote(f"new-{number}", target, labels=CORE))
            await _callable(observer, f"new-{number}_hello")
            seconds.append(time.monotonic() - applied)
            await _all_heard(crowd, heard)
            await crowd.more_calls(CALLS_BETWEEN)
            await asyncio.to_thread(namespace.delete, "mcps", f"new-{number}")
            await _gone(observer, f"new-{number}_hello")
        for caller in crowd.callers:
            await caller.check_session()
    return crowd, seconds


async def _callable(client: Client[Any], tool: str) -> None:
    """Until the tool answers, asked for on the same session all the time."""
    async with asyncio.timeout(60):
        while True:
            result = await client.call_tool_mcp(tool, {}) if await _listed(client, tool) else None
            if result is not None and not result.is_error:
                return
            await asyncio.sleep(0.02)


async def _gone(client: Client[Any], tool: str) -> None:
    async with asyncio.timeout(60):
        while await _listed(client, tool):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def _listed(client: Client[Any], tool: str) -> bool:
    return any(listed.name == tool for listed in await client.list_tools())


async def _all_heard(crowd: Crowd, before: list[int]) -> None:
    async with asyncio.timeout(60):
        while not all(t.list_changed > count for t, count in zip(crowd.tallies, before, strict=True)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def _report(crowd: Crowd, seconds: list[float]) -> dict[str, Any]:
    ordered = sorted(seconds)
    return {
        "swaps": len(seconds),
        "clients": len(crowd.callers),
        "calls": crowd.calls,
        "p50_s": round(statistics.median(ordered), 3),
        "p95_s": round(ordered[int(0.95 * (len(ordered) - 1) + 0.5)], 3),
        "max_s": round(ordered[-1], 3),
        "failed_calls": len(crowd.failures),
        "dropped_sessions": sum(tally.dropped for tally in crowd.tallies),
        "longest_call_s": round(max(tally.longest_seconds for tally in crowd.tallies), 3),
        "list_changed_heard": {f"{t.era}-{i}": t.list_changed for i, t in enumerate(crowd.tallies)},
    }
