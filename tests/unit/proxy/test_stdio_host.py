"""Stdio servers in the proxy's own process: what they see, how they live, what is said of them, and that they end.

Cases: a call over the socket · environment and cwd exactly · not startable · crash loop and its ends · lazy and idle ·
hung · standard error · secrets · stop · the socket's folder.
"""

import asyncio
import os
import re
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from mcp_operator_proxy.backends.stdio import URL, StdioHost, environment
from mcp_operator_proxy.bridge.watched import watched
from mcp_operator_proxy.config import EnvVar, SecretRef, Stdio
from support.children import children
from support.waiting import Eventually
from unit.proxy.bridge.harness import Client, raw

PROXY_IMAGE = Path(__file__).parents[3] / "proxy_image"
Run = Callable[..., Awaitable[StdioHost]]


def stdio(*command: str, **changes: Any) -> Stdio:
    first, *args = command or raw()
    return Stdio(command=first, args=tuple(args), **changes)


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    """Starts hosts; in the end they are stopped, and neither a process nor a folder is left."""
    before = {child.pid for child in children()}
    hosts: list[StdioHost] = []

    async def begin(*command: str, env: dict[str, str] | None = None, **changes: Any) -> StdioHost:
        configured = stdio(*command, env=changes.pop("variables", ()), **changes)
        host = StdioHost("default/test", configured, env or {}, grace_seconds=0.5)
        hosts.append(host)
        await host.start()
        return host

    yield begin
    folders = [Path(host.socket).parent for host in hosts if host.socket]
    for host in hosts:
        await host.stop()
    assert [c for c in children() if c.pid not in before] == []
    assert not any(folder.exists() for folder in folders)


@asynccontextmanager
async def connected(host: StdioHost) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        transport = httpx2.AsyncHTTPTransport(uds=host.socket)
        http = await stack.enter_async_context(httpx2.AsyncClient(transport=transport, timeout=20))
        client = Client(URL, http)
        answer = await client.initialize()
        assert "result" in answer, answer
        yield client


async def test_a_call_goes_over_the_private_socket(run: Run) -> None:
    host = await run()
    assert host.socket
    assert stat.S_IMODE(Path(host.socket).parent.stat().st_mode) == 0o700
    assert len(os.fsencode(host.socket)) < 108
    async with connected(host) as client:
        assert (await client.call("echo", x=1))["x"] == 1
    report = host.report()
    assert (report.state, report.restarts, report.processes) == ("ready", 0, 1)
    assert report.pid
    assert report.uptime_seconds is not None


async def test_the_process_sees_what_is_configured_and_six_variables(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROXY_ONLY", "x")
    host = await run(env={"GIVEN": "1", "TERM": "mine"}, cwd=str(tmp_path))
    async with connected(host) as client:
        pid = (await client.call("echo"))["pid"]
    process = psutil.Process(pid)
    expected = {name: os.environ[name] for name in ("HOME", "LOGNAME", "PATH", "SHELL", "USER") if name in os.environ}
    assert process.environ() == {**expected, "GIVEN": "1", "TERM": "mine"}
    assert process.cwd() == str(tmp_path)


def test_the_environment_is_made_of_two_parts() -> None:
    own = {"PATH": "/bin", "HOME": "/root", "AWS_SECRET": "x"}
    assert environment(own, {"A": "1", "PATH": "/opt"}) == {"PATH": "/opt", "HOME": "/root", "A": "1"}


@pytest.mark.parametrize(
    ("command", "cwd", "says"),
    [
        (("/nowhere/server",), None, "command not found: /nowhere/server"),
        (("no-such-command",), None, "command not found: no-such-command"),
        (("/",), None, "command is not executable: /"),
        (raw(), "/nowhere", "working directory not found: /nowhere"),
    ],
    ids=["absolute", "in PATH", "a folder", "cwd"],
)
async def test_what_can_not_start_is_told_to_who_asks(
    run: Run, eventually: Eventually, command: tuple[str, ...], cwd: str | None, says: str
) -> None:
    host = await run(*command, cwd=cwd, max_restarts=1)
    await eventually(lambda: host.report().state == "crash-loop")
    assert host.report().last_error == says
    async with httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=host.socket)) as http:
        error = (await Client(URL, http).initialize())["error"]
    assert says in error["message"]
    assert error["data"]["state"] == "crash-loop"


async def test_a_restart_lifts_a_crash_loop(run: Run, eventually: Eventually, tmp_path: Path) -> None:
    command = raw("--fail-file", str(tmp_path / "n"), "--fail-times", "2")
    host = await run(*command, max_restarts=2)
    await eventually(lambda: host.report().state == "crash-loop")
    report = host.report()
    assert report.restarts == 2
    assert report.exit_code == 7
    assert report.last_error == "MCP server default/test exited with code 7; last standard error: start 2 fails"
    assert report.stderr == ("start 1 fails", "start 2 fails")
    host.restart()
    async with connected(host) as client:
        await client.call("echo")
    assert host.report().state == "ready"


async def test_standard_error_is_kept_and_logged_with_the_servers_name(
    run: Run, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    script = "import sys; [print('line', n, file=sys.stderr) for n in range(3000)]; sys.stdin.read()"
    host = await run(sys.executable, "-S", "-c", script)
    await eventually(lambda: any(line.text == "line 2999" for line in host.logs(1)))
    assert [line.text for line in host.logs(2)] == ["line 2998", "line 2999"]
    assert len(host.logs(10_000)) == 1000
    shown = [r for r in caplog.records if getattr(r, "server", None) == "default/test" and r.message.startswith("line")]
    assert 200 <= len(shown) < 3000, "a flood does not flood the log"


async def test_a_secret_is_never_shown(run: Run, eventually: Eventually, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    script = 'import os, sys; sys.exit(f\'cannot log in as bob with {os.environ["PLAIN"]} and {os.environ["PIN"]}\')'
    variables = tuple(EnvVar(name=name, secret=SecretRef(file=name.lower())) for name in ("PLAIN", "PIN"))
    host = await run(
        *(sys.executable, "-S", "-c", script),
        env={"PLAIN": "hunter-two", "PIN": "417"},
        variables=variables,
        max_restarts=1,
    )
    await eventually(lambda: host.report().state == "crash-loop")
    assert host.report().stderr == ("cannot log in as bob with [env PLAIN] and [env PIN]",)
    for text in (repr(host.report()), repr(host.logs()), caplog.text):
        assert "hunter-two" not in text
        assert re.search(r"\b417\b", text) is None


async def test_stopped_twice_and_before_it_was_started() -> None:
    host = StdioHost("default/test", stdio(), {})
    await host.stop()
    assert host.report().state == "stopped"
    await host.start()
    assert await host.start() == host.socket
    await host.stop()
    await host.stop()
    assert host.report().state == "stopped"


async def test_what_is_one_users_alone_has_a_folder_of_its_own() -> None:
    found = []
    for alone in (True, False):
        host = StdioHost("default/test", stdio(*raw()), {"NOTES": "$(MCP_OWN_DIR)/n"}, alone=alone)
        await host.start()
        async with connected(host) as client:
            asked = [await client.call("environment", name=name) for name in ("MCP_OWN_DIR", "NOTES")]
            found.append([answer["value"] for answer in asked])
        await host.stop()
    (own, notes), shared = found
    assert notes == f"{own}/n"
    assert not any(map(os.path.exists, [own]))
    assert shared == [None, "$(MCP_OWN_DIR)/n"]


KILLED = """
import asyncio, sys
from mcp_operator_proxy.backends.stdio import StdioHost
from mcp_operator_proxy.config import Stdio

async def main():
    host = StdioHost("default/test", Stdio(command=sys.argv[1], args=tuple(sys.argv[2:])), {})
    await host.start()
    while host.report().pid is None:
        await asyncio.sleep(0.01)
    print(host.report().pid, host.socket, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_kill_of_the_proxy_leaves_no_process(eventually: Eventually) -> None:
    """Neither a server that ends with its stdin, nor one that ignores that and SIGTERM too, nor the watchdog, nor a socket."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED, *raw("--stubborn")),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PROXY_IMAGE)},
    )
    assert process.stdout
    pid, socket = (await process.stdout.readline()).decode().split()
    tree = psutil.Process(process.pid).children(recursive=True)
    assert int(pid) in {child.pid for child in tree}
    process.kill()
    await process.wait()

    await eventually(lambda: not any(map(runs, tree)), within=60)
    await eventually(lambda: not Path(socket).parent.exists())


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it ended between the two questions
        return False


async def test_a_watchdog_that_died_is_replaced(run: Run, eventually: Eventually) -> None:
    host = await run()
    await eventually(lambda: host.report().pid is not None and watched().pid is not None)
    first = watched().pid
    assert first
    psutil.Process(first).kill()
    await eventually(lambda: watched().pid not in {None, first})


async def test_a_long_path_for_temporary_files_is_gone_around(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    host = await run()
    assert host.socket
    assert len(os.fsencode(host.socket)) < 108
