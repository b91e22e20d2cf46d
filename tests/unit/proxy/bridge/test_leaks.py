"""Nothing is left of many sessions: no process, zombie, descriptor, task, thread or object.

Each test takes stock after some sessions and after many more: the same has to be there.
"""

import asyncio
import gc
import os
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import httpx2
import pytest

from mcp_operator_proxy.bridge import proc
from mcp_operator_proxy.bridge.call import Call
from mcp_operator_proxy.bridge.connection import Connection
from mcp_operator_proxy.bridge.outbox import Outbox
from mcp_operator_proxy.bridge.process import ServerProcess
from mcp_operator_proxy.bridge.server import Bridge
from mcp_operator_proxy.bridge.sessions import Session
from unit.proxy.bridge.conftest import Start
from unit.proxy.bridge.harness import SERVERS, Client, until
from unit.proxy.bridge.test_modern import Modern

TINY = ("/bin/sh", str(SERVERS / "tiny.sh"))
AT_ONCE = 8
KINDS = (Session, Call, Connection, ServerProcess, Outbox, asyncio.subprocess.Process)


def stock() -> Counter[str]:
    """What this process has of everything that could leak."""
    gc.collect()
    found = Counter(kind.__name__ for thing in gc.get_objects() if (kind := type(thing)) in KINDS)
    found["descriptors"] = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - how many there are
    found["tasks"] = len(asyncio.all_tasks())
    found["threads"] = threading.active_count()
    mine = [entry for entry in proc.entries() if entry.parent == os.getpid()]
    found["processes"] = len(mine)
    found["zombies"] = sum(entry.state == "Z" for entry in mine)
    return +found


async def many(times: int, session: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """So many sessions, some at once."""
    left = iter(range(times))

    async def some() -> None:
        for _ in left:
            await session()

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


def one_session(bridge: Bridge, http: httpx2.AsyncClient, query: str = "") -> Callable[[], Coroutine[Any, Any, None]]:
    async def session() -> None:
        client = Client(bridge.url + query, http)
        assert "result" in await client.initialize()
        assert (await client.call("any"))["pid"]
        assert (await client.delete()).status_code == 204

    return session


async def leaves_nothing(session: Callable[[], Coroutine[Any, Any, None]], some: int, times: int) -> None:
    await many(some, session)
    before = stock()
    await many(times, session)
    await until(lambda: not stock() - before)


def to(bridge: Bridge) -> httpx2.AsyncClient:
    transport = httpx2.AsyncHTTPTransport(uds=bridge.settings.uds, limits=httpx2.Limits(max_connections=AT_ONCE))
    return httpx2.AsyncClient(transport=transport, timeout=30)


async def test_a_thousand_sessions_of_a_shared_process(start: Start, tmp_path_factory: pytest.TempPathFactory) -> None:
    bridge = await start(*TINY, uds=str(tmp_path_factory.mktemp("s") / "s"), ping=20.0)
    async with to(bridge) as http:
        await leaves_nothing(one_session(bridge, http), 50, 1000)
    assert bridge.hub.sessions == {}
    assert bridge.hub.health().restarts == 0


async def test_a_hundred_sessions_with_a_process_each(start: Start, tmp_path_factory: pytest.TempPathFactory) -> None:
    bridge = await start(
        *TINY, uds=str(tmp_path_factory.mktemp("s") / "s"), isolation="session", preflight=False, ping=20.0
    )
    async with to(bridge) as http:
        await leaves_nothing(one_session(bridge, http), 20, 100)
    assert bridge.hub.sessions == {}


async def test_a_hundred_users(
    start: Start, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_operator_proxy.bridge.users._SWEEP", 0.5)
    bridge = await start(
        *TINY,
        uds=str(tmp_path_factory.mktemp("s") / "s"),
        isolation="user",
        preflight=False,
        lazy=True,
        process_idle=0.05,
    )
    users = iter(range(1000))
    async with to(bridge) as http:

        async def session() -> None:
            await one_session(bridge, http, f"?user={next(users)}")()

        await leaves_nothing(session, 20, 100)
    assert bridge.hub.sessions == {}


@pytest.mark.parametrize("keyed", [True, False], ids=["clients with keys", "clients without"])
async def test_calls_of_the_modern_era_leave_nothing(
    start: Start, tmp_path_factory: pytest.TempPathFactory, *, keyed: bool
) -> None:
    bridge = await start(
        *TINY, "modern", isolation="session", uds=str(tmp_path_factory.mktemp("s") / "s"), preflight=False
    )
    keys = iter(range(100_000))
    async with to(bridge) as http:

        async def client() -> None:
            key = next(keys)
            modern = Modern(f"{bridge.url}?session={key}" if keyed else bridge.url, http)
            assert (await modern.call("any"))["pid"]
            bridge.hub.leave(str(key))

        await leaves_nothing(client, 20, 50)


async def test_crashes_leave_nothing(start: Start, tmp_path_factory: pytest.TempPathFactory) -> None:
    bridge = await start(
        *TINY, uds=str(tmp_path_factory.mktemp("s") / "s"), backoff_first=0.001, backoff_max=0.001, max_restarts=1000
    )
    async with to(bridge) as http:
        client = Client(bridge.url, http)
        await client.initialize()

        async def crash() -> None:
            await client.stream_of("crash")

        await many(10, crash)
        assert await client.call("any")
        before = stock()
        await many(50, crash)
        assert await client.call("any")
        await until(lambda: not stock() - before)
    assert bridge.hub.health().restarts > 1
