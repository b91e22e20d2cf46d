"""The bridge as a process: signals, groups, orphans, zombies. All through `python -m mcp_operator_proxy.bridge`.

Cases: SIGTERM ends all in order · a stubborn server · grandchildren · the bridge killed · the guard killed · a detached
daemon · zombies reaped · calls drained · address in use.
"""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from unit.proxy.bridge.harness import Client, http_client, raw, until

PROXY_IMAGE = Path(__file__).parents[4] / "proxy_image"


@dataclass
class Running:
    process: asyncio.subprocess.Process
    client: Client

    @property
    def guard(self) -> psutil.Process:
        return psutil.Process(self.process.pid)

    def bridge(self) -> psutil.Process:
        (child,) = [c for c in self.guard.children() if "mcp_operator_proxy.bridge" in c.cmdline()]
        return child

    async def ended(self) -> int:
        async with asyncio.timeout(60):
            return await self.process.wait()


@asynccontextmanager
async def cli(*command: str, options: tuple[str, ...] = (), session: bool = True) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mcp_operator_proxy.bridge", "--host", "127.0.0.1", "--port", "0", *options),
        *("--", *(command or raw())),
        stderr=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(PROXY_IMAGE), "PATH": "/usr/bin:/bin"},
    )
    assert process.stderr is not None
    url = await _url(process.stderr)
    drain = asyncio.create_task(process.stderr.read())
    try:
        async with http_client() as http:
            client = Client(url, http)
            if session:
                assert "result" in await client.initialize()
            yield Running(process, client)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await drain


async def _url(stderr: asyncio.StreamReader) -> str:
    async with asyncio.timeout(60):
        while line := (await stderr.readline()).decode():
            if match := re.search(r"is served at (\S+)", line):
                return match[1]
    raise AssertionError("the bridge did not start")


def gone(*pids: int) -> Callable[[], bool]:
    """Whether none of these runs; one that is dead and waits for its parent does not."""
    return lambda: not any(map(_runs, pids))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_sigterm_ends_the_server_and_its_children() -> None:
    async with cli() as running:
        spawned = await running.client.call("spawn")
        bridge = running.bridge().pid
        running.process.terminate()
        assert await running.ended() == 0
        assert gone(spawned["pid"], spawned["child"], bridge)()


async def test_a_stubborn_server_is_killed_with_its_children() -> None:
    async with cli(*raw("--stubborn"), options=("--stop-grace", "200ms")) as running:
        spawned = await running.client.call("spawn", stubborn=True)
        running.process.terminate()
        assert await running.ended() == 0
        assert gone(spawned["pid"], spawned["child"])()


async def test_children_that_outlive_a_crashed_server_are_ended_before_the_next_starts() -> None:
    async with cli() as running:
        spawned = await running.client.call("spawn")
        await running.client.error_of("crash", code=1)
        assert (await running.client.call("echo"))["pid"] != spawned["pid"]
        assert gone(spawned["child"])()


async def test_when_the_bridge_is_killed_nothing_is_left() -> None:
    async with cli() as running:
        spawned = await running.client.call("spawn", stubborn=True)
        running.bridge().kill()
        assert await running.ended() == 128 + signal.SIGKILL
        assert gone(spawned["pid"], spawned["child"])()


async def test_when_the_guard_is_killed_the_bridge_stops_in_order() -> None:
    async with cli() as running:
        spawned = await running.client.call("spawn")
        bridge = running.bridge().pid
        running.process.kill()
        await running.ended()
        await until(gone(bridge, spawned["pid"], spawned["child"]))


async def test_a_daemon_that_left_the_group_ends_with_the_bridge() -> None:
    async with cli() as running:
        spawned = await running.client.call("spawn", detached=True)
        await running.client.error_of("killed")
        await until(lambda: psutil.Process(spawned["child"]).ppid() == running.process.pid)
        running.process.terminate()
        assert await running.ended() == 0
        assert gone(spawned["child"])()


async def test_orphans_are_reaped() -> None:
    async with cli() as running:
        spawned = await running.client.call("spawn", detached=True)
        await running.client.error_of("killed")
        await until(lambda: psutil.Process(spawned["child"]).ppid() == running.process.pid)
        psutil.Process(spawned["child"]).kill()
        await until(lambda: not psutil.pid_exists(spawned["child"]))


async def test_calls_in_flight_are_finished_before_the_end() -> None:
    async with cli(options=("--drain-timeout", "60s")) as running:
        held = asyncio.create_task(running.client.call("hold", key="k"))

        async def is_held() -> bool:
            return any(c["name"] == "hold" for c in await running.client.heard("tools/call"))

        await until(is_held)
        running.process.terminate()

        async def draining() -> bool:
            url = running.client.url.removesuffix("/mcp")
            return (await running.client.http.get(f"{url}/readyz")).status_code == 503

        await until(draining)
        await running.client.call("release", key="k")
        assert await held == {"key": "k"}
        assert await running.ended() == 0


async def test_streams_end_when_the_bridge_stops() -> None:
    async with cli() as running, running.client.listening() as stream:
        running.process.terminate()
        assert [message async for message in stream] == []
        assert await running.ended() == 0


async def test_sessions_of_their_own_end_too() -> None:
    async with cli(options=("--isolation", "session")) as running:
        spawned = await running.client.call("spawn")
        running.process.send_signal(signal.SIGINT)
        assert await running.ended() == 0
        assert gone(spawned["pid"], spawned["child"])()


async def test_an_address_in_use_is_told() -> None:
    async with cli(session=False) as running:
        port = running.client.url.split(":")[2].partition("/")[0]
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mcp_operator_proxy.bridge", "--host", "127.0.0.1", "--port", port, "--", *raw()),
            stderr=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": str(PROXY_IMAGE)},
        )
        _, stderr = await second.communicate()
    assert second.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in stderr.decode()
