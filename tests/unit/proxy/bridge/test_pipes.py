"""A server in a container of its own, over two named pipes; here `sh` starts it as the container does, and the test is the kubelet.

Cases: calls before and after its start · ended and started again: a new process, the session goes on, a call in flight fails · what was
written for the old process does not reach the new one · stdin is closed at the end · the sign that the bridge serves · a wrong folder
"""

import asyncio
import errno
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from mcp_operator.desired.containers import BUSYBOX, PIPES, RUN
from mcp_operator_proxy.bridge.jsonrpc import SERVER_EXITED
from mcp_operator_proxy.bridge.pipes import SERVING
from mcp_operator_proxy.bridge.server import Bridge
from unit.proxy.bridge.conftest import Connect
from unit.proxy.bridge.harness import Client, raw, running, settings, until

SCRIPT = 'rm -f "$0/in" "$0/out" && mkfifo "$0/in" "$0/out"; exec "$@" <"$0/in" >"$0/out"'
Launch = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts the server in the place of the kubelet."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*options: str) -> "subprocess.Popen[bytes]":
        started.append(subprocess.Popen(["sh", "-c", SCRIPT, str(tmp_path), *raw(*options)]))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    async with running(settings((), pipes=str(tmp_path))) as begun:
        yield begun


async def pid(client: Client) -> int:
    return int((await client.call("echo"))["pid"])


async def test_calls_reach_it_once_it_has_started(bridge: Bridge, connect: Connect, launch: Launch) -> None:
    opening = asyncio.create_task(connect(bridge))
    process = launch()
    client = await opening
    assert await pid(client) == process.pid
    assert bridge.hub.health().ready
    assert bridge.hub.health().pid is None, "it is in another container"


async def test_after_a_restart_sessions_go_on(bridge: Bridge, connect: Connect, launch: Launch) -> None:
    first = launch()
    client = await connect(bridge)
    assert await pid(client) == first.pid
    hanging = asyncio.create_task(client.error_of("hold", key="k"))
    await until(lambda: bridge.hub.busy)
    first.send_signal(signal.SIGKILL)
    error = await hanging
    assert (error["code"], error["data"]["reason"]) == (SERVER_EXITED, "ServerExited")
    assert error["message"] == "MCP server test ended; the log of its container says why"
    again = asyncio.create_task(pid(client))
    second = launch()
    assert await again == second.pid
    assert len(await client.heard("initialize")) == 1, "the new process was initialized, once"
    assert bridge.hub.health().restarts == 1


async def test_what_an_old_process_did_not_read_reaches_no_new_one(
    bridge: Bridge, connect: Connect, launch: Launch
) -> None:
    first = launch()
    client = await connect(bridge)
    await pid(client)
    first.send_signal(signal.SIGSTOP)
    unread = asyncio.create_task(client.error_of("echo", text="for the old one"))
    await until(lambda: bridge.hub.busy)
    first.send_signal(signal.SIGKILL)
    assert (await unread)["code"] == SERVER_EXITED
    launch()
    calls = await client.heard("tools/call")
    assert [call for call in calls if call.get("arguments", {}).get("text")] == []


async def test_its_stdin_is_closed_when_the_bridge_ends(connect: Connect, launch: Launch, tmp_path: Path) -> None:
    process = launch()
    async with running(settings((), pipes=str(tmp_path))) as bridge:
        client = await connect(bridge)
        await pid(client)
        assert (tmp_path / SERVING).exists()
        await client.delete()
    assert not (tmp_path / SERVING).exists()
    assert await asyncio.to_thread(process.wait, 60) == 0


async def test_a_server_that_ends_early_is_tried_again(
    bridge: Bridge, connect: Connect, launch: Launch, tmp_path: Path
) -> None:
    opening = asyncio.create_task(connect(bridge))
    failing = launch("--fail-file", str(tmp_path / "starts"), "--fail-times", "1")
    assert await asyncio.to_thread(failing.wait, 60) == 7
    process = launch()
    assert await pid(await opening) == process.pid


async def test_a_folder_that_is_no_place_for_pipes(tmp_path: Path) -> None:
    (tmp_path / "in").symlink_to("in")
    async with running(settings((), pipes=str(tmp_path))) as bridge:
        await until(lambda: bridge.hub.health().last_error is not None)
        error = bridge.hub.health().last_error or ""
    assert error == f"pipe {tmp_path / 'in'} can't be opened: {os.strerror(errno.ELOOP)}"


def test_the_container_finds_its_own_end_of_the_pipes() -> None:
    """The script that the operator puts into the pod says the same as the one here."""
    said = RUN.replace(f"{BUSYBOX} ", "")
    assert f"rm -f {PIPES}/in {PIPES}/out && mkfifo -m 666 {PIPES}/in {PIPES}/out" in said
    assert said.endswith(f'exec "$@" <{PIPES}/in >{PIPES}/out')
