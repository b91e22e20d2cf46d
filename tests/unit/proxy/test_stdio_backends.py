"""Stdio servers behind the proxy, from a client's call to the process and back.

Cases: called, listed, reported · a crash heals · a crash loop: others go on, the status says why · a change lifts it ·
lazy: lists stay, a call starts it · a session's own process · removed: nothing is left.
"""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from mcp.shared.exceptions import MCPError

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.report import ServerReport
from support.backends import client
from support.children import children
from support.gateway import Gateway, running_gateway
from support.waiting import Eventually
from unit.proxy.bridge.harness import raw

JSON = dict[str, Any]


def config(revision: str, *, auth: JSON | None = None, **servers: JSON) -> ProxyConfig:
    """Stdio servers on one route, each under its name."""
    return ProxyConfig.model_validate(
        {
            "revision": revision,
            "auth": auth,
            "servers": [{"id": f"ns/{name}", "stdio": stdio} for name, stdio in servers.items()],
            "routes": [
                {"name": "r", "path": "/mcp", "servers": [{"server": f"ns/{name}", "prefix": name} for name in servers]}
            ],
        }
    )


def command(*options: str, **more: Any) -> JSON:
    first, *args = raw(*options)
    return {"command": first, "args": args, **more}


def report(gateway: Gateway, name: str) -> ServerReport:
    (found,) = [server for server in gateway.proxy.status().servers if server.id == f"ns/{name}"]
    return found


async def call(through: Any, tool: str, **arguments: Any) -> JSON:
    found: JSON = (await through.call_tool(tool, arguments)).structured_content
    return found


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    before = {child.pid for child in children()}
    yield
    assert [c for c in children() if c.pid not in before] == []


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_call_reaches_the_process_and_what_is_known_of_it_is_reported(mode: str) -> None:
    async with running_gateway(config("1", one=command())) as gateway, client(gateway.url, mode) as through:
        assert "one_echo" in {tool.name for tool in await through.list_tools()}
        pid = (await call(through, "one_echo", x=1))["pid"]
        found = report(gateway, "one")
    assert found.state == "ready"
    assert found.process
    assert (found.process.state, found.process.pid, found.process.restarts) == ("ready", pid, 0)
    assert found.process.stderr == (), "for the owner alone"


async def test_after_a_crash_the_next_call_finds_a_new_process() -> None:
    async with running_gateway(config("1", one=command())) as gateway, client(gateway.url) as through:
        pid = (await call(through, "one_echo"))["pid"]
        with pytest.raises(MCPError, match="exited with code 3; last standard error: no disk"):
            await call(through, "one_crash", code=3, words="no disk\n")
        assert (await call(through, "one_echo"))["pid"] != pid
        metrics = (await gateway.get("/metrics")).text
        assert 'mcp_proxy_stdio_processes{server="ns/one"} 1.0' in metrics
        assert 'mcp_proxy_stdio_restarts_total{server="ns/one"} 1.0' in metrics


async def test_a_crash_loop_is_its_servers_alone_and_a_change_lifts_it(eventually: Eventually, tmp_path: Path) -> None:
    broken = command("--fail-file", str(tmp_path / "n"), "--fail-times", "2", max_restarts=2)
    async with (
        running_gateway(config("1", good=command(), bad=broken), warm_seconds=1) as gateway,
        client(gateway.url) as through,
    ):
        assert await call(through, "good_echo")
        await eventually(lambda: getattr(report(gateway, "bad").error, "error_class", None) == "CrashLoop")
        error = report(gateway, "bad").error
        assert error
        assert "exited with code 7; last standard error: start 2 fails" in error.message
        assert report(gateway, "good").state == "ready"
        await gateway.proxy.apply(config("2", good=command(), bad={**broken, "max_restarts": 3}))
        await eventually(lambda: report(gateway, "bad").state == "ready", within=60)
        assert await call(through, "bad_echo")
        assert report(gateway, "bad").error is None


async def test_a_lazy_server_is_listed_once_and_rests_until_it_is_called(eventually: Eventually) -> None:
    lazy = command(start="lazy", idle_seconds=0.3)
    settings = config("1", one=lazy)
    quick = settings.model_copy(
        update={"servers": tuple(s.model_copy(update={"refresh_seconds": 0.05}) for s in settings.servers)}
    )
    async with running_gateway(quick) as gateway, client(gateway.url) as through:

        def process() -> str:
            found = report(gateway, "one").process
            return found.state if found else ""

        await eventually(lambda: process() == "idle")
        assert "one_echo" in {tool.name for tool in await through.list_tools()}
        assert process() == "idle", "it is listed again and again, and need not run for that"
        first = await call(through, "one_echo", x=2)
        assert first["x"] == 2
        await eventually(lambda: process() == "idle")
        assert (await call(through, "one_echo"))["pid"] != first["pid"], "it had ended in between"
        assert report(gateway, "one").state == "ready"


async def test_each_client_session_has_its_own_process() -> None:
    async with (
        running_gateway(config("1", one=command(isolation="session"))) as gateway,
        client(gateway.url, "legacy") as first,
        client(gateway.url, "legacy") as second,
    ):
        pids = [(await call(through, "one_echo"))["pid"] for through in (first, second, first)]
        assert pids[0] == pids[2] != pids[1]


KEYS = {"alice": "alice-has-this-long-key", "bob": "bob-has-that-long-key-"}


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_each_user_has_a_process_whatever_sessions_it_opens(mode: str) -> None:
    auth = {"apiKeys": [{"name": name, "secret": {"file": name}} for name in KEYS]}
    settings = config("1", one=command(isolation="user"), auth=auth)
    async with running_gateway(settings, KEYS) as gateway, AsyncExitStack() as stack:

        async def joined(who: str) -> Any:
            return await stack.enter_async_context(client(gateway.url, mode, auth=KEYS[who]))

        alice, again, bob = [await joined(who) for who in ("alice", "alice", "bob")]
        pids = [(await call(through, "one_echo"))["pid"] for through in (alice, again, bob, alice)]
        assert pids[0] == pids[1] == pids[3] != pids[2]
        process = report(gateway, "one").process
        assert process
        assert process.processes == 2, "one for each user, which lists too"


async def test_without_authentication_nobody_has_a_users_process() -> None:
    async with running_gateway(config("1", one=command(isolation="user"))) as gateway, client(gateway.url) as through:
        assert await through.list_tools() == []
        with pytest.raises(MCPError, match="this caller is not authenticated"):
            await call(through, "one_echo")


async def test_what_is_removed_ends(eventually: Eventually) -> None:
    async with running_gateway(config("1", one=command(), two=command())) as gateway, client(gateway.url) as through:
        pid = (await call(through, "one_echo"))["pid"]
        await gateway.proxy.apply(config("2", two=command()))
        await eventually(lambda: not psutil.pid_exists(pid))
        assert await call(through, "two_echo")


async def test_what_can_not_start_says_so_in_its_status_alone() -> None:
    async with running_gateway(
        config("1", good=command(), none={"command": "/nowhere/server"}, lost=command(cwd="/nowhere")), warm_seconds=20
    ) as gateway:
        states = {name: report(gateway, name) for name in ("good", "none", "lost")}
        assert states["good"].state == "ready"
        for name, says in (("none", "command not found: /nowhere/server"), ("lost", "working directory not found")):
            error = states[name].error
            assert error
            assert error.error_class in {"NotRunning", "CrashLoop"}
            assert says in error.message


async def test_the_end_of_a_session_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """anyio's unix sockets would log a traceback for each."""
    async with running_gateway(config("1", one=command())) as gateway:
        for _ in range(5):
            async with client(gateway.url, "legacy") as through:
                assert await call(through, "one_echo")
    assert [record.message for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == []
