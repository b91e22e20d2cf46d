"""Processes of users and of sessions, on the private socket of the proxy.

Cases: a user's sessions share a process, users do not · who says no user is refused · over TCP nobody is believed · the
proxy's own session takes no client's process · idle users · limits, and room made by ending the idlest · the spare ·
idle sessions · restarts and what is counted.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from mcp_operator_proxy.bridge.divided import DividedHub
from mcp_operator_proxy.bridge.isolated import IsolatedHub
from mcp_operator_proxy.bridge.jsonrpc import INVALID_REQUEST, TOO_MANY_SESSIONS
from mcp_operator_proxy.bridge.server import Bridge
from mcp_operator_proxy.bridge.users import UsersHub
from support.children import children
from unit.proxy.bridge.conftest import Connect, Start
from unit.proxy.bridge.harness import JSON, Client, on_socket, raw, until

Join = Callable[..., Awaitable[Client]]


@pytest.fixture
async def private(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Start:
    async def begin(*command: str, **changes: Any) -> Bridge:
        socket = tmp_path_factory.mktemp("s") / "s"
        return await start(*command, **{"uds": str(socket), "isolation": "user", "preflight": False, **changes})

    return begin


@pytest.fixture
async def join(private: Start, stack: AsyncExitStack) -> AsyncIterator[Join]:
    """Opens sessions on behalf of somebody. They end before the bridge does."""
    async with AsyncExitStack() as clients:

        async def begin(bridge: Bridge, query: str = "") -> Client:
            client = await clients.enter_async_context(on_socket(bridge, query))
            answer = await client.initialize()
            assert "result" in answer, answer
            return client

        yield begin


async def pid(client: Client) -> int:
    return int((await client.call("echo"))["pid"])


def processes(bridge: Bridge) -> int:
    """Those of clients."""
    assert isinstance(bridge.hub, DividedHub)
    return bridge.hub._clients.health().processes


def has_spare(bridge: Bridge) -> bool:
    """A process is ready for the session that comes next."""
    assert isinstance(bridge.hub, DividedHub)
    assert isinstance(bridge.hub._clients, IsolatedHub)
    return bridge.hub._clients._spare is not None


async def refusal(bridge: Bridge, query: str = "") -> JSON:
    async with on_socket(bridge, query) as client:
        error: JSON = (await client.initialize())["error"]
        return error


async def test_a_users_sessions_share_a_process_and_users_do_not(private: Start, join: Join) -> None:
    bridge = await private()
    alice, again, bob = [await join(bridge, f"user={who}") for who in ("alice", "alice", "bob")]
    assert await pid(alice) == await pid(again) != await pid(bob)
    assert processes(bridge) == 2


async def test_one_users_crash_is_not_anothers(private: Start, join: Join) -> None:
    bridge = await private()
    alice, bob = await join(bridge, "user=alice"), await join(bridge, "user=bob")
    before = await pid(bob)
    await alice.error_of("crash", code=3)
    assert await pid(bob) == before
    assert await pid(alice)
    health = bridge.hub.health()
    assert (health.restarts, health.exit_code) == (1, 3)


async def test_without_a_user_there_is_no_process(private: Start) -> None:
    bridge = await private()
    error = await refusal(bridge)
    assert error["code"] == INVALID_REQUEST
    assert "this caller is not authenticated" in error["message"]
    assert await refusal(bridge, "user=") == error


async def test_over_tcp_nobody_is_believed(start: Start, connect: Connect) -> None:
    """There a query says nothing: each session has its own process, whoever it claims to be."""
    bridge = await start(isolation="session", preflight=False)
    one, two = [await connect(bridge, initialize=False) for _ in range(2)]
    for client in (one, two):
        client.url += "?user=alice"
        assert "result" in await client.initialize()
    assert await pid(one) != await pid(two)


@pytest.mark.parametrize("isolation", ["user", "session"])
async def test_the_proxys_own_session_has_a_process_of_its_own(private: Start, join: Join, isolation: str) -> None:
    bridge = await private(isolation=isolation)
    own = await join(bridge, "for=catalogue")
    again = await join(bridge, "for=catalogue")
    client = await join(bridge, "user=alice")
    assert (await own.request("tools/list"))[-1]["result"]["tools"]
    assert await pid(own) == await pid(again) != await pid(client)


async def test_sessions_of_users_open_without_a_process_once_the_server_is_known(private: Start, join: Join) -> None:
    bridge = await private()
    await join(bridge, "for=catalogue")
    alice = await join(bridge, "user=alice")
    assert processes(bridge) == 0
    assert await pid(alice)
    assert processes(bridge) == 1


async def test_a_users_process_ends_when_it_is_idle_and_comes_again_in_the_same_session(
    private: Start, join: Join
) -> None:
    bridge = await private(process_idle=0.15)
    alice = await join(bridge, "user=alice")
    first = await pid(alice)
    await until(lambda: not psutil.pid_exists(first))
    assert await pid(alice) != first
    assert bridge.hub.health().restarts == 0


async def test_users_are_forgotten_when_they_are_gone(
    private: Start, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_operator_proxy.bridge.users._SWEEP", 0.1)
    bridge = await private(process_idle=0.05)
    alice = await join(bridge, "user=alice")
    await pid(alice)
    await alice.delete()
    assert isinstance(bridge.hub, DividedHub)
    users = bridge.hub._clients
    assert isinstance(users, UsersHub)
    await until(lambda: not users._users)


async def test_room_is_made_by_ending_the_process_that_was_idle_for_longest(private: Start, join: Join) -> None:
    bridge = await private(max_processes=2, evict_idle=0.0)
    alice, bob, carol = [await join(bridge, f"user={who}") for who in ("alice", "bob", "carol")]
    first, second = await pid(alice), await pid(bob)
    await pid(carol)
    assert not psutil.pid_exists(first)
    assert psutil.pid_exists(second)
    assert await pid(alice) != first
    assert processes(bridge) <= 2


async def test_when_all_are_at_work_a_newcomer_is_told_the_limit(private: Start, join: Join) -> None:
    bridge = await private(max_processes=1, evict_idle=0.0)
    await join(bridge, "for=catalogue")
    alice, bob = await join(bridge, "user=alice"), await join(bridge, "user=bob")
    working = asyncio.create_task(alice.call("hold", key="k"))

    async def held() -> bool:
        return any(c["name"] == "hold" for c in await alice.heard("tools/call"))

    await until(held)
    error = await bob.error_of("echo")
    assert error["code"] == TOO_MANY_SESSIONS
    assert error["data"] == {"reason": "TooManyProcesses", "limit": 1}
    assert "has its limit of 1 processes" in error["message"]
    await alice.call("release", key="k")
    await working
    assert await pid(bob)


async def test_an_idle_session_gives_its_process_to_another(private: Start, join: Join) -> None:
    bridge = await private(isolation="session", max_processes=1, evict_idle=0.0)
    one = await join(bridge)
    first = await pid(one)
    two = await join(bridge)
    assert await pid(two) != first
    assert not psutil.pid_exists(first)
    assert (await one.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})).status_code == 404


async def test_one_that_was_just_used_is_not_taken_away(private: Start, join: Join) -> None:
    bridge = await private(isolation="session", max_processes=1, evict_idle=3600.0)
    await pid(await join(bridge))
    error = await refusal(bridge)
    assert error["code"] == TOO_MANY_SESSIONS
    assert error["data"] == {"reason": "TooManyProcesses", "limit": 1}


async def test_a_session_without_calls_ends_though_its_stream_is_open(private: Start, join: Join) -> None:
    bridge = await private(isolation="session", process_idle=4.0)
    client = await join(bridge)
    async with client.listening() as stream:
        assert processes(bridge) == 1
        for session in bridge.hub.sessions.values():
            assert session.connection is not None
            session.connection._worked_at -= 4.0
        assert [message async for message in stream] == []
    await until(lambda: processes(bridge) == 0)


async def test_the_next_sessions_process_is_started_in_advance(private: Start, join: Join) -> None:
    bridge = await private(isolation="session", spare=True)
    one = await join(bridge)
    await until(lambda: has_spare(bridge))
    before = {child.pid for child in children()}
    two = await join(bridge)
    assert await pid(two) in before - {await pid(one)}
    await until(lambda: processes(bridge) == 3)


async def test_a_spare_that_died_is_not_given_to_anybody(private: Start, join: Join) -> None:
    bridge = await private(isolation="session", spare=True)
    others = {child.pid for child in children()}
    one = await join(bridge)
    await until(lambda: has_spare(bridge))
    own = await pid(await join(bridge, "for=catalogue"))
    (spare,) = {child.pid for child in children()} - others - {own, await pid(one)}
    psutil.Process(spare).kill()
    await until(lambda: not psutil.pid_exists(spare))
    assert await pid(await join(bridge)) not in {spare, await pid(one)}


@pytest.mark.parametrize("isolation", ["user", "session"])
async def test_a_restart_replaces_them_all(private: Start, join: Join, isolation: str) -> None:
    bridge = await private(isolation=isolation)
    own, alice = await join(bridge, "for=catalogue"), await join(bridge, "user=alice")
    before = {await pid(own), await pid(alice)}
    bridge.hub.restart()
    await until(lambda: not any(psutil.pid_exists(p) for p in before))
    assert await pid(own) not in before
    assert await pid(await join(bridge, "user=alice")) not in before


async def test_a_start_that_fails_at_first_fails_its_user_alone(private: Start, join: Join, tmp_path: Path) -> None:
    bridge = await private(*raw("--fail-file", str(tmp_path / "n"), "--fail-times", "1"), lazy=True)
    alice = await join(bridge, "user=alice")
    assert await pid(alice)
    assert bridge.hub.health().restarts == 1
