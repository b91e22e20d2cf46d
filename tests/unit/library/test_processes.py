"""Standard error and restarts of stdio servers, from Python.

Cases: a new process, with the words of both · one for each session · in a crash loop · that starts too slowly · no such server,
none with a process, switched off, closed.
"""

import sys
from pathlib import Path
from typing import Any

import pytest

from mcp_operator_proxy import NoProcess, NotRunning, ToolProxy, UnknownServer
from support.waiting import Eventually
from unit.library.servers import STDIO
from unit.proxy.bridge.harness import raw
from unit.proxy.bridge.test_modern import server as modern

JSON = dict[str, Any]


def spec(command: tuple[str, ...], **more: Any) -> JSON:
    first, *args = command
    return {"command": first, "args": args, **more}


def config(**servers: JSON) -> JSON:
    return {"mcpServers": servers}


@pytest.mark.parametrize("command", [raw(), modern()], ids=["legacy", "modern"])
@pytest.mark.parametrize("isolation", ["shared", "session"])
async def test_a_restart_gives_a_new_process_and_the_words_of_the_old_one_stay(
    command: tuple[str, ...], isolation: str, eventually: Eventually
) -> None:
    noisy = ("/bin/sh", "-c", 'echo "up $$ with $TOKEN" >&2; exec "$@"', "sh", *command)
    environment = {"TOKEN": "${KEY}"}
    made = config(one=spec(noisy, env=environment, isolation=isolation))
    async with ToolProxy.from_config(made, environ={"KEY": "hunter-two"}, warm_seconds=20) as proxy:
        before = (await proxy.call_tool("one_echo")).data["pid"]
        status = await proxy.restart("one")
        assert status.process is not None
        assert status.process.state == "ready"
        after = (await proxy.call_tool("one_echo")).data["pid"]
        assert after != before
        await eventually(lambda: {before, after} <= {line.pid for line in proxy.logs("one")})
        assert {line.text for line in proxy.logs("one")} >= {f"up {pid} with [env TOKEN]" for pid in (before, after)}
        assert len(proxy.logs("one", 1)) == 1


async def test_a_restart_lifts_a_crash_loop(tmp_path: Path, eventually: Eventually) -> None:
    broken = spec(raw("--fail-file", str(tmp_path / "n"), "--fail-times", "1"), maxRestarts=1)
    async with ToolProxy.from_config(config(one=broken)) as proxy:

        def state() -> str:
            process = proxy.status("one").process
            return process.state if process else ""

        await eventually(lambda: state() == "crash-loop")
        await eventually(lambda: [line.text for line in proxy.logs("one")] == ["start 1 fails"])
        status = await proxy.restart("one")
        assert status.process is not None
        assert status.process.state == "ready"


async def test_a_restart_does_not_wait_for_ever() -> None:
    silent = spec((sys.executable, "-S", "-c", "import sys; sys.stdin.read()"))
    async with ToolProxy.from_config(config(one=silent)) as proxy:
        status = await proxy.restart("one", timeout=0.05)
        assert status.process is not None
        assert status.process.state == "starting"


async def test_what_has_no_process() -> None:
    remote = {"url": "http://127.0.0.1:9/mcp"}
    proxy = ToolProxy.from_config(config(remote=remote, one=STDIO))
    with pytest.raises(NotRunning):
        proxy.logs("one")
    async with proxy:
        with pytest.raises(UnknownServer, match="known: remote, one"):
            proxy.logs("two")
        with pytest.raises(NoProcess, match="remote is reached at a URL"):
            await proxy.restart("remote")
        await proxy.disable("one")
        with pytest.raises(NoProcess, match="one is switched off"):
            proxy.logs("one")
