"""How a running process is looked after: lazy starts, idle ends, pings, explicit restarts, the crash-loop limit.

Cases: started by the first need · ended when idle · lists, handshakes and pings without a process · a call starts it again ·
lists do not keep it running · a call in flight does · what list_changed forgets · a lazy server that crashes rests ·
a hung process is replaced · one that is busy is not · restart · the limit holds, and its ends.
"""

import asyncio
import re
import time
from pathlib import Path

import pytest

from mcp_operator_proxy.bridge.backoff import Backoff
from mcp_operator_proxy.bridge.connection import Connection
from mcp_operator_proxy.bridge.jsonrpc import SERVER_EXITED, SERVER_UNAVAILABLE
from mcp_operator_proxy.bridge.server import Bridge
from mcp_operator_proxy.bridge.supervisor import State
from unit.proxy.bridge.conftest import Connect, Start
from unit.proxy.bridge.harness import JSON, Client, raw, until


async def is_in(bridge: Bridge, state: State) -> None:
    await until(lambda: bridge.hub.health().state is state)


async def listed(client: Client) -> JSON:
    result: JSON = (await client.request("tools/list"))[-1]["result"]
    return result


async def test_a_lazy_server_starts_when_it_is_needed(start: Start, connect: Connect) -> None:
    bridge = await start(lazy=True, process_idle=60.0)
    await asyncio.sleep(0)
    assert (bridge.hub.health().state, bridge.hub.health().processes) == (State.IDLE, 0)
    client = await connect(bridge)
    assert bridge.hub.health().state is State.READY
    assert (await client.call("echo", x=1))["x"] == 1


async def test_an_idle_one_ends_and_what_is_known_of_it_stays(start: Start, connect: Connect) -> None:
    bridge = await start(lazy=True, process_idle=0.1)
    client = await connect(bridge)
    pid = (await client.call("echo"))["pid"]
    known = await listed(client)
    await is_in(bridge, State.IDLE)
    assert bridge.hub.health().ready

    assert await listed(client) == known
    second = await connect(bridge)
    assert await listed(second) == known
    assert (await second.request("ping"))[-1]["result"] == {}
    assert (await second.request("logging/setLevel", {"level": "error"}))[-1]["result"] == {}
    assert bridge.hub.health().state is State.IDLE, "none of this needs a process"

    assert (await client.call("echo"))["pid"] != pid
    assert await client.heard("logging/setLevel") == [{"level": "error"}]
    assert bridge.hub.health().restarts == 0


async def test_lists_do_not_keep_a_process_running_but_calls_in_flight_do(start: Start, connect: Connect) -> None:
    bridge = await start(lazy=True, process_idle=0.2)
    client = await connect(bridge)
    held = asyncio.create_task(client.call("hold", key="k"))
    began = time.monotonic()

    async def long_enough() -> bool:
        await listed(client)
        return time.monotonic() - began > 0.5

    await until(long_enough)
    assert bridge.hub.health().state is State.READY
    await client.call("release", key="k")
    await held

    async def rests() -> bool:
        await listed(client)
        return bridge.hub.health().state is State.IDLE

    await until(rests)


async def test_a_list_that_changed_is_asked_for_again(start: Start, connect: Connect, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    bridge = await start(*raw("--fail-file", str(starts)), lazy=True, process_idle=0.1)
    client = await connect(bridge)
    await listed(client)
    await client.call("say", message={"method": "notifications/tools/list_changed"})
    await is_in(bridge, State.IDLE)
    before = len(starts.read_text())
    await listed(client)
    assert len(starts.read_text()) > before
    await is_in(bridge, State.IDLE)
    before = len(starts.read_text())
    await listed(client)
    assert len(starts.read_text()) == before, "what one said that was started for it is known, too"


async def test_a_lazy_server_that_ends_by_itself_rests_until_it_is_needed(start: Start, connect: Connect) -> None:
    bridge = await start(lazy=True)
    client = await connect(bridge)
    assert (await client.error_of("crash", code=3))["code"] == SERVER_EXITED
    await is_in(bridge, State.IDLE)
    assert bridge.hub.health().restarts == 1
    assert bridge.hub.health().exit_code == 3
    assert await client.call("echo")


async def test_a_process_that_hangs_is_replaced(start: Start, connect: Connect, tmp_path: Path) -> None:
    bridge = await start(ping=1.0)
    client = await connect(bridge)
    await client.call("deaf", until=str(tmp_path / "never"))
    given_up = asyncio.create_task(client.call("echo"))
    await until(lambda: bridge.hub.busy)
    given_up.cancel()
    await until(lambda: bridge.hub.health().restarts >= 1)
    assert await client.call("echo")
    health = bridge.hub.health()
    assert health.last_error == "MCP server test did not answer a ping within 1 s: it is replaced"


async def test_a_hung_process_of_a_session_ends_with_it(start: Start, connect: Connect, tmp_path: Path) -> None:
    bridge = await start(isolation="session", ping=1.0)
    client = await connect(bridge)
    await client.call("deaf", until=str(tmp_path / "never"))
    await until(lambda: not bridge.hub.sessions)
    assert "did not answer a ping" in str(bridge.hub.health().last_error)


async def test_one_that_is_busy_with_a_call_is_left_alone(
    start: Start, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may do one thing at a time: while it does what it was asked before the ping, it need not answer it."""
    pinged: list[bool] = []

    async def answers(self: Connection, seconds: float) -> bool:
        pinged.append(await original(self, seconds))
        return pinged[-1]

    original = Connection.answers
    monkeypatch.setattr(Connection, "answers", answers)
    bridge = await start(ping=0.6)
    client = await connect(bridge)
    pid = (await client.call("echo"))["pid"]
    working = asyncio.create_task(client.call("work", until=str(tmp_path / "done")))
    await until(lambda: bridge.hub.busy)
    before = len(pinged)
    await until(lambda: len(pinged) >= before + 2)  # the first may have been answered before the work began
    assert all(pinged)
    assert bridge.hub.health().restarts == 0
    (tmp_path / "done").touch()
    assert (await working)["pid"] == pid


async def test_a_restart_replaces_the_process_in_the_same_session(start: Start, connect: Connect) -> None:
    bridge = await start()
    client = await connect(bridge)
    pid = (await client.call("echo"))["pid"]
    bridge.hub.restart()
    await until(lambda: bridge.hub.health().pid not in {None, pid})
    assert (await client.call("echo"))["pid"] != pid
    assert bridge.hub.health().restarts == 0, "it did not fail"


async def test_a_restart_ends_the_sessions_that_have_a_process(start: Start, connect: Connect) -> None:
    bridge = await start(isolation="session")
    client = await connect(bridge)
    bridge.hub.restart()
    await until(lambda: not bridge.hub.sessions)
    assert (await client.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})).status_code == 404


async def test_after_so_many_exits_it_is_not_started_again(start: Start, connect: Connect, tmp_path: Path) -> None:
    counter = tmp_path / "n"
    command = raw("--fail-file", str(counter), "--fail-times", "3")
    bridge = await start(*command, max_restarts=3, cool_down=3600.0)
    await is_in(bridge, State.CRASH_LOOP)
    client = await connect(bridge, initialize=False)
    error = (await client.initialize())["error"]
    assert error["code"] == SERVER_UNAVAILABLE
    assert error["data"]["state"] == "crash-loop"
    assert re.search(r"next start in 3[56]\d\d s", error["message"])
    assert "start 3 fails" in error["message"]
    assert len(counter.read_text()) == 3
    bridge.hub.restart()
    assert "result" in await client.initialize()


async def test_a_crash_loop_cools_down(start: Start, connect: Connect, tmp_path: Path) -> None:
    bridge = await start(*raw("--fail-file", str(tmp_path / "n"), "--fail-times", "2"), max_restarts=2, cool_down=0.05)
    await is_in(bridge, State.READY)
    assert bridge.hub.health().restarts == 2


async def test_sessions_of_their_own_share_the_limit_of_failed_starts(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    counter = tmp_path / "n"
    bridge = await start(
        *raw("--fail-file", str(counter), "--fail-times", "100"), isolation="session", max_restarts=2, cool_down=3600.0
    )
    await is_in(bridge, State.CRASH_LOOP)
    client = await connect(bridge, initialize=False)
    error = (await client.initialize())["error"]
    assert "is down (crash-loop)" in error["message"]
    assert error["data"]["state"] == "crash-loop"
    assert len(counter.read_text()) == 2, "asking does not start it"


def test_a_limit_with_a_cool_down() -> None:
    backoff = Backoff(0.5, 30.0, limit=3, cool_down=300.0, settled=60.0)
    assert [backoff.next(59.0), backoff.next(0.0)] == [0.5, 1.0]
    assert not backoff.crash_loop
    assert backoff.next(10.0) == 300.0
    assert backoff.crash_loop
    assert backoff.next(10.0) == 300.0
    assert backoff.next(61.0) == 0.5, "a run of a minute ends the row"
    backoff.reset()
    assert backoff.failures == 0
