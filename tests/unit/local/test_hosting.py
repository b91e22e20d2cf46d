"""Hosted servers over time: replaced when the new one is ready, kept until nobody uses them, restarted within limits."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import psutil
import pytest

from mcp_operator.conditions.reasons import Reason
from mcp_operator.engine.keys import Key
from mcp_operator.local.hosting import Hosting
from mcp_operator.local.launch import PYTHON, CannotRun, Launch
from mcp_operator.local.process import free_port
from support.backends import eventually
from support.children import children

KEY = Key("McpServer", "default", "x")
LISTEN = "import socket,sys,time; s=socket.create_server(('127.0.0.1', int(sys.argv[2]))); time.sleep(600)"
HOLD = (*PYTHON, "-m", "mcp_operator.local.hold", "--", sys.executable, "-S", "-c")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def launch(version: str, *, port: int | None = None, code: str = LISTEN) -> Launch:
    """A program that listens; its command line names the version."""
    told = () if port is None else ("--port", str(port))
    environment = {"PATH": os.environ["PATH"], "VERSION": version}
    return Launch((*HOLD, code), told, environment, "/mcp", port=port, port_option="" if port else "--port")


@pytest.fixture
async def hosting(tmp_path: Path) -> AsyncIterator[Hosting]:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False))
        found = Hosting(http, lambda: None, lambda name: tmp_path / name)
        stack.push_async_callback(found.aclose)
        yield found
    assert not children()


async def is_ready(hosting: Hosting) -> None:
    await eventually(lambda: hosting.ready(KEY))


async def test_a_changed_one_takes_over_when_it_is_ready_and_the_old_one_waits_for_its_release(
    hosting: Hosting,
) -> None:
    hosting.want(KEY, launch("1"))
    assert hosting.url(KEY) is not None, "it has an address before it is ready"
    await is_ready(hosting)
    old = hosting.url(KEY)
    assert hosting.verdict(KEY).status == "True"
    hosting.want(KEY, launch("2"))
    assert hosting.url(KEY) == old
    assert hosting.verdict(KEY).message.endswith("; the version before still serves")
    await eventually(lambda: hosting.url(KEY) != old)
    assert hosting.verdict(KEY).status == "True"
    assert len(tree()) == 6, "guard, holder and program of both"
    hosting.release()
    await eventually(lambda: len(tree()) == 3)


async def test_a_change_that_does_not_come_up_leaves_the_old_one_in_place(hosting: Hosting) -> None:
    hosting.want(KEY, launch("1"))
    await is_ready(hosting)
    old = hosting.url(KEY)
    hosting.want(KEY, launch("2", code="raise SystemExit(3)"))
    await eventually(lambda: hosting.verdict(KEY).reason == Reason.CRASHING)
    assert "it exited with code 3" in hosting.verdict(KEY).message
    assert hosting.url(KEY) == old
    hosting.want(KEY, launch("1"))
    assert hosting.verdict(KEY).status == "True"


async def test_one_that_never_ran_is_replaced_at_once(hosting: Hosting) -> None:
    hosting.want(KEY, launch("1", code="raise SystemExit(3)"))
    await eventually(lambda: hosting.verdict(KEY).reason == Reason.CRASHING)
    hosting.want(KEY, launch("2"))
    await is_ready(hosting)


async def test_with_a_port_of_its_own_the_old_one_goes_first(hosting: Hosting) -> None:
    port = free_port()
    hosting.want(KEY, launch("1", port=port))
    await is_ready(hosting)
    before = {process.pid for process in tree()}
    hosting.want(KEY, launch("2", port=port))
    await is_ready(hosting)
    assert not before & {process.pid for process in tree()}
    assert hosting.url(KEY) == f"http://127.0.0.1:{port}/mcp"


async def test_what_can_not_run_says_why_and_what_is_not_declared_goes(hosting: Hosting) -> None:
    hosting.want(KEY, launch("1"))
    await is_ready(hosting)
    hosting.want(KEY, CannotRun(Reason.UNSUPPORTED_VALUE, "set a command"))
    assert (hosting.verdict(KEY).reason, hosting.verdict(KEY).message) == (Reason.UNSUPPORTED_VALUE, "set a command")
    assert hosting.url(KEY) is None
    hosting.retain([])
    hosting.release()
    await eventually(lambda: not tree())


async def test_it_is_restarted_within_its_limit_and_with_pauses(hosting: Hosting) -> None:
    hosting.want(KEY, launch("1"))
    await is_ready(hosting)
    before = {process.pid for process in tree()}
    first = hosting.restarts(KEY, healthy=False, limit=1, now=NOW)
    assert first.restarts.count == 1
    await eventually(lambda: hosting.ready(KEY) and not before & {process.pid for process in tree()})
    again = hosting.restarts(KEY, healthy=False, limit=1, now=NOW + timedelta(hours=1))
    assert again.restarts.count == 1, "the limit"
    assert hosting.restarts(KEY, healthy=True, limit=1, now=NOW + timedelta(hours=2)).restarts.count == 0


def tree() -> list[psutil.Process]:
    found = []
    for process in children():
        with suppress(psutil.NoSuchProcess):  # it has ended since it was listed
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
