"""Proxies go on when there is no operator, and when there is no API server either."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from support.kubectl import Namespace, eventually
from support.product import RELEASE, SYSTEM, call, tools
from support.resources import proxy, remote
from support.traffic import Crowd

CORE = {"team": "core"}
CALLS = 100


@asynccontextmanager
async def _no_operator() -> AsyncIterator[None]:
    """Clients call on while it goes and comes."""
    await asyncio.to_thread(_stop_operator)
    try:
        yield
    finally:
        await asyncio.to_thread(_start_operator)


def _stop_operator() -> None:
    system = Namespace(SYSTEM)
    system.run("scale", f"deployment/{RELEASE}", "--replicas=0")
    system.run("wait", "pods", "-l", "app.kubernetes.io/component=operator", "--for=delete", "--timeout=100s")


def _start_operator() -> None:
    system = Namespace(SYSTEM)
    system.run("scale", f"deployment/{RELEASE}", "--replicas=1")
    system.run("rollout", "status", f"deployment/{RELEASE}", "--timeout=100s")


@contextmanager
def _no_api_server() -> Iterator[None]:
    """It hangs: connections are taken and nothing is answered, the worst way of being away."""
    (pid,) = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/comm") if _name(path) == "kube-apiserver"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _name(comm: Path) -> str:
    try:
        return comm.read_text().strip()
    except OSError:
        return ""


@pytest.mark.skipif("MCP_OPERATOR_CLUSTER" not in os.environ, reason="the API server of another cluster is not stopped")
def test_proxies_serve_without_operator_and_api_server(namespace: Namespace, backend: Callable[..., str]) -> None:
    namespace.apply(remote("one", backend("one"), labels=CORE), proxy(selector=CORE, replicas=2))
    namespace.wait("mcpp", "tools", "Ready")
    url = namespace.service_url("tools-proxy", "/mcp")
    eventually(lambda: "one_add" in tools(url))

    async def scenario() -> Crowd:
        async with Crowd(url, "one_add", {"a": 1, "b": 2}, "3", size=4) as crowd:
            async with _no_operator():
                await crowd.more_calls(CALLS)
                with _no_api_server():
                    await crowd.more_calls(CALLS)
                    assert await asyncio.to_thread(tools, url) >= {"one_add", "one_hello"}, "a new client, too"
                    assert await asyncio.to_thread(call, url, "one_hello") == "one/hello"
                    await crowd.more_calls(CALLS)
            for caller in crowd.callers:
                await caller.check_session()
        return crowd

    crowd = asyncio.run(scenario())
    assert crowd.failures == []
    assert not any(tally.dropped for tally in crowd.tallies)
    namespace.apply(remote("two", backend("two"), labels=CORE))
    eventually(lambda: "two_add" in tools(url), timeout=90)
