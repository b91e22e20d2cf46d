"""The parent process: restarts, order at the end, exit codes."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.waiting import Eventually

ROOT = Path(__file__).parents[4]
PARENT = """
import os, select, signal, sys, time
from mcp_operator_proxy.workers.supervise import Supervisor

def say(*words):  # in one piece: all write to one pipe
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def work(index, parent):
    {body}
    return 0

say("code", Supervisor(2, work, kill_after={kill_after}).run())
"""
ORDERLY = """signal.signal(signal.SIGTERM, lambda *_: sys.exit({code}))
    try:
        say("up", index, os.getpid())
        select.select([parent], [], [])
    except SystemExit as ended:
        return ended.code
    say("orphaned", index)"""
DEAF = """signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("deaf", index)
    select.select([parent], [], [])"""


class Parent:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[list[str]] = []

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().split())

    def pids(self, index: int) -> list[int]:
        return [int(line[2]) for line in self.lines if line[:2] == ["up", str(index)]]

    def said(self, word: str) -> int:
        return sum(line[0] == word for line in self.lines)


@contextlib.asynccontextmanager
async def running(body: str, kill_after: float = 30) -> AsyncIterator[Parent]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", PARENT.format(body=body, kill_after=kill_after)),
        env={**os.environ, "PYTHONPATH": str(ROOT / "proxy_image")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    parent = Parent(process)
    reading = asyncio.create_task(parent.read())
    try:
        yield parent
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
async def test_all_end_in_order(sig: signal.Signals, eventually: Eventually) -> None:
    async with running(ORDERLY.format(code=0)) as parent:
        await eventually(lambda: parent.said("up") == 2, within=60)
        parent.process.send_signal(sig)
        await eventually(lambda: parent.lines[-1] == ["code", "0"], within=60)


async def test_a_worker_that_ends_badly_is_told(eventually: Eventually) -> None:
    async with running(ORDERLY.format(code=3)) as parent:
        await eventually(lambda: parent.said("up") == 2, within=60)
        parent.process.terminate()
        await eventually(lambda: parent.lines[-1] == ["code", "1"], within=60)


async def test_a_dead_worker_is_replaced_and_the_other_left_alone(eventually: Eventually) -> None:
    async with running(ORDERLY.format(code=0)) as parent:
        await eventually(lambda: parent.said("up") == 2, within=60)
        for generation in (1, 2):
            os.kill(parent.pids(0)[-1], signal.SIGKILL)
            await eventually(lambda wanted=generation + 1: len(parent.pids(0)) == wanted, within=60)
        assert len(set(parent.pids(0))) == 3
        assert len(parent.pids(1)) == 1


async def test_a_worker_that_does_not_end_is_killed(eventually: Eventually) -> None:
    async with running(DEAF, kill_after=0.2) as parent:
        await eventually(lambda: parent.said("deaf") == 2, within=60)
        parent.process.terminate()
        await eventually(lambda: parent.lines[-1] == ["code", "1"], within=60)


async def test_workers_notice_that_the_parent_is_gone(eventually: Eventually) -> None:
    async with running(ORDERLY.format(code=0)) as parent:
        await eventually(lambda: parent.said("up") == 2, within=60)
        parent.process.kill()
        await eventually(lambda: parent.said("orphaned") == 2, within=60)
