"""Stdio servers of the 2026-07-28 era alone behind the proxy, with clients of both eras.

Cases: called, with progress and log · asked · a server made with the SDK · list_changed · a crash · a rest · the connection
test · processes of sessions and users · a process that comes back in another era · nothing is left.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from fastmcp.client.elicitation import ElicitResult
from mcp.shared.exceptions import MCPError

from support.backends import client
from support.children import children
from support.gateway import Gateway, make_config, running_gateway
from support.modern import ModernClient
from support.waiting import Eventually
from unit.proxy.bridge.harness import raw, running, settings, until
from unit.proxy.bridge.test_modern import server as modern_server
from unit.proxy.test_stdio_backends import JSON, KEYS, call, config, report

BOTH = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
SDK = Path(__file__).parent / "bridge" / "servers" / "sdk_modern.py"


def modern(*options: str, **more: Any) -> JSON:
    first, *args = modern_server(*options)
    return {"command": first, "args": args, **more}


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    before = {child.pid for child in children()}
    yield
    assert [c for c in children() if c.pid not in before] == []


def processes(gateway: Gateway) -> int:
    found = report(gateway, "one").process
    assert found
    return found.processes


@BOTH
async def test_it_is_called_with_progress_and_log(mode: str) -> None:
    progressed: list[float] = []
    logged: list[Any] = []

    async def progress(done: float, *_: object) -> None:
        progressed.append(done)

    async def log(message: Any) -> None:
        logged.append(message.data)

    async with (
        running_gateway(config("1", one=modern())) as gateway,
        client(gateway.url, mode, log_handler=log) as through,
    ):
        found = (await through.call_tool("one_echo", {"x": 1})).structured_content
        assert found["x"] == 1
        await through.call_tool("one_progress", {"steps": 3}, progress_handler=progress)
        await through.call_tool("one_say", {"level": "error", "data": "heard"})
        said = report(gateway, "one")
    assert progressed == [0, 1, 2]
    assert mode != "legacy" or logged == ["heard"]
    assert (said.protocol_version, said.server_name) == ("2026-07-28", "modern")


@BOTH
@pytest.mark.parametrize("isolation", ["shared", "session", "user"])
async def test_it_asks_the_client(mode: str, isolation: str) -> None:
    async def answer(*_: object) -> Any:
        return ElicitResult(action="accept", content={"x": "this"})

    auth = {"apiKeys": [{"name": name, "secret": {"file": name}} for name in KEYS]}
    made = config("1", one=modern(isolation=isolation), auth=auth)
    async with (
        running_gateway(made, KEYS) as gateway,
        client(gateway.url, mode, elicitation_handler=answer, auth=KEYS["bob"]) as through,
    ):
        told = await call(through, "one_ask")
    assert told["answers"] == {"one": {"action": "accept", "content": {"x": "this"}}}
    assert told["state"] == "state-1"


async def test_a_server_made_with_the_sdk(eventually: Eventually) -> None:
    stdio = {"command": sys.executable, "args": [str(SDK)]}
    async with running_gateway(config("1", one=stdio)) as gateway, client(gateway.url, "legacy") as through:
        await eventually(lambda: report(gateway, "one").state == "ready", within=30)
        assert (await through.call_tool("one_add", {"a": 1, "b": 2})).structured_content == {"result": 3}
        assert report(gateway, "one").protocol_version == "2026-07-28"


@BOTH
@pytest.mark.parametrize("isolation", ["shared", "session"])
async def test_through_a_bridge_of_its_own(mode: str, isolation: Any) -> None:
    """As in a pod: the bridge's command, on TCP."""
    async with (
        running(settings(modern_server(), isolation=isolation)) as bridge,
        running_gateway(make_config({"one": bridge.url})) as gateway,
        client(gateway.url, mode) as through,
    ):
        await until(lambda: report(gateway, "one").state == "ready")
        assert (await call(through, "one_echo", x=1))["x"] == 1
        assert report(gateway, "one").protocol_version == "2026-07-28"


@BOTH
async def test_what_it_adds_is_listed(mode: str) -> None:
    async with running_gateway(config("1", one=modern())) as gateway, client(gateway.url, mode) as through:
        await call(through, "one_add", name="new")

        async def listed() -> bool:
            return "one_new" in {tool.name for tool in await through.list_tools()}

        await until(listed)


@BOTH
async def test_a_crash_fails_one_call_and_the_next_finds_a_new_process(mode: str) -> None:
    async with running_gateway(config("1", one=modern())) as gateway, client(gateway.url, mode) as through:
        pid = (await call(through, "one_echo"))["pid"]
        with pytest.raises(MCPError, match="exited with code 3; last standard error: no disk"):
            await call(through, "one_crash", code=3, words="no disk\n")
        assert (await call(through, "one_echo"))["pid"] != pid


async def test_a_lazy_one_rests_although_its_changes_are_listened_for(eventually: Eventually) -> None:
    made = config("1", one=modern(start="lazy", idle_seconds=0.3))
    async with running_gateway(made) as gateway, client(gateway.url) as through:
        await eventually(lambda: processes(gateway) == 0)
        assert "one_echo" in {tool.name for tool in await through.list_tools()}
        first = await call(through, "one_echo")
        await eventually(lambda: processes(gateway) == 0)
        assert (await call(through, "one_echo"))["pid"] != first["pid"]


async def test_each_session_of_a_client_has_its_own_process_and_ends_it(eventually: Eventually) -> None:
    async with running_gateway(config("1", one=modern(isolation="session"))) as gateway, AsyncExitStack() as stack:
        first = await stack.enter_async_context(client(gateway.url, "legacy"))
        async with client(gateway.url, "legacy") as second:
            pids = [(await call(through, "one_echo"))["pid"] for through in (first, second, first)]
            assert pids[0] == pids[2] != pids[1]
        await eventually(lambda: not psutil.pid_exists(pids[1]))
        assert (await call(first, "one_echo"))["pid"] == pids[0]


async def test_calls_without_a_session_never_share_a_process() -> None:
    async with running_gateway(config("1", one=modern(isolation="session"))) as gateway, AsyncExitStack() as stack:
        a, b = [await stack.enter_async_context(ModernClient(gateway.url)) for _ in range(2)]
        holding = asyncio.create_task(a.call("one_hold", {"key": "a"}))
        pids = [(await b.call("one_echo")).result for _ in range(2)]
        assert pids[0] is not None
        assert pids[0]["structuredContent"]["pid"] == (pids[1] or {})["structuredContent"]["pid"], "kept for a while"
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)


@BOTH
async def test_each_user_has_a_process(mode: str) -> None:
    auth = {"apiKeys": [{"name": name, "secret": {"file": name}} for name in KEYS]}
    made = config("1", one=modern(isolation="user"), auth=auth)
    async with running_gateway(made, KEYS) as gateway, AsyncExitStack() as stack:

        async def joined(who: str) -> Any:
            return await stack.enter_async_context(client(gateway.url, mode, auth=KEYS[who]))

        alice, again, bob = [await joined(who) for who in ("alice", "alice", "bob")]
        pids = [(await call(through, "one_echo"))["pid"] for through in (alice, again, bob, alice)]
        assert pids[0] == pids[1] == pids[3] != pids[2]
        assert processes(gateway) == 2, "one for each user, which lists too"


async def test_its_connection_is_tested_also_before_it_has_run() -> None:
    lazy = modern(start="lazy")
    async with running_gateway(config("1", one=lazy)) as gateway:
        state = gateway.proxy.state
        assert state is not None
        (backend,) = state.backends.values()
        found = await backend.test_connection()
    assert found.ok
    assert (found.era, found.protocol_version) == ("modern", "2026-07-28")


@BOTH
@pytest.mark.parametrize("eras", [(raw(), modern_server()), (modern_server(), raw())], ids=["to modern", "to legacy"])
async def test_it_comes_back_in_another_era(mode: str, tmp_path: Path, eras: tuple[tuple[str, ...], ...]) -> None:
    """After an update of its package, say: the calls go on, and the era is found out anew."""
    switch, script = tmp_path / "updated", tmp_path / "start"
    before, after = [" ".join(command) for command in eras]
    script.write_text(f"#!/bin/sh\nif [ -e {switch} ]; then exec {after}; else exec {before}; fi\n")
    script.chmod(0o755)
    made = config("1", one={"command": str(script)})
    async with running_gateway(made) as gateway, client(gateway.url, mode) as through:
        assert await call(through, "one_echo")
        version = report(gateway, "one").protocol_version
        switch.touch()
        with pytest.raises(MCPError):
            await call(through, "one_crash", code=1)
        await until(lambda: report(gateway, "one").protocol_version != version)
        assert (await call(through, "one_echo", x=2))["x"] == 2
