"""A hosted stdio server whose process does not answer: real bridges on loopback tell why, and the probe passes it on.

its command is not there · it ends at every start · it says nothing · it answers · nobody listens · something else listens
"""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from fastmcp import FastMCP

from mcp_operator.compile.references import Resolved
from mcp_operator.probe.bridge import SILENT, ask_bridge
from mcp_operator.probe.mcp import probe
from mcp_operator.probe.target import Target
from mcp_operator.reconcile.observed import probe_target
from mcp_operator_proxy.report import ErrorReport
from support import models, resources
from support.backends import ServedMCP, dead_port

ROOT = Path(__file__).parents[3]
TINY = ROOT / "tests" / "unit" / "proxy" / "bridge" / "servers" / "raw_server.py"


@contextlib.asynccontextmanager
async def bridge(*command: str) -> AsyncIterator[str]:
    """The program as it runs in a pod. Gives the URL at which it says how it is."""
    options = ["--host", "127.0.0.1", "--port", "0", "--path", "/mcp", "--name", "x", "--", *command]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mcp_operator_proxy.bridge", *options),
        env={**os.environ, "PYTHONPATH": str(ROOT / "proxy_image")},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    reading: asyncio.Task[bytes] | None = None
    try:
        async with asyncio.timeout(60):
            while (said := re.search(rb"is served at (\S+)/mcp", await process.stderr.readline())) is None:
                assert not process.stderr.at_eof()
        reading = asyncio.create_task(process.stderr.read())
        yield f"{said[1].decode()}/readyz"
    finally:
        process.terminate()
        await process.wait()
        if reading is not None:
            await reading


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await true():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("command", "error_class", "words"),
    [
        (["no-such-program"], "CrashLoop", "command not found: no-such-program"),
        ([sys.executable, "-c", "import sys; sys.exit('no index')"], "CrashLoop", "last standard error: no index"),
        ([sys.executable, "-c", "input(); input()"], "NotRunning", SILENT),
    ],
)
async def test_why_it_does_not_answer(command: list[str], error_class: str, words: str) -> None:
    async with bridge(*command) as url:

        async def told() -> bool:
            found = await ask_bridge(url)
            return found is not None and found.error_class == error_class and words in found.message

        await until(told)
        target = Target(url=f"http://127.0.0.1:{dead_port()}/mcp", transport="streamable-http", bridge=url)

        async def passed_on() -> bool:
            result = await probe(target)
            assert result.error is not None
            return result.error.error_class == error_class and words in result.error.message

        await until(passed_on)


async def test_one_that_answers_has_nothing_to_tell() -> None:
    async with bridge(sys.executable, str(TINY)) as url:

        async def ready() -> bool:
            result = await probe(Target(url=url.replace("/readyz", "/mcp"), transport="streamable-http", bridge=url))
            return result.facts is not None

        await until(ready)

        async def complains_of_nothing() -> bool:
            return await ask_bridge(url) is None

        await until(complains_of_nothing)


async def test_where_there_is_no_bridge_the_probe_s_own_words_stand() -> None:
    nobody = dead_port()
    url = f"http://127.0.0.1:{nobody}/readyz"
    assert await ask_bridge(url) is None
    target = Target(url=f"http://127.0.0.1:{nobody}/mcp", transport="streamable-http", bridge=url)
    result = await probe(target)
    assert result.error is not None
    assert result.error.error_class == "ConnectionRefused"


async def test_what_is_no_bridge_tells_nothing() -> None:
    async with ServedMCP(FastMCP("other")) as served:
        assert await ask_bridge(served.url.replace("/mcp", "/readyz")) is None
        assert not isinstance(await ask_bridge(served.url), ErrorReport)


def pod(address: str | None, *, ready: bool) -> dict[str, object]:
    status = {"podIP": address, "conditions": [{"type": "Ready", "status": str(ready)}]}
    return {"metadata": {"name": "x"}, "status": status}


STDIO = models.server(resources.stdio("notes", "uvx", "notes"))
OWN = models.server(resources.container("own", "image:1"))
UNREADY, READY = pod("10.1.0.1", ready=False), pod("10.1.0.2", ready=True)


@pytest.mark.parametrize(
    ("server", "pods", "asked"),
    [
        (STDIO, [], None),
        (STDIO, [UNREADY], "http://10.1.0.1:8080/readyz"),
        (STDIO, [UNREADY, pod(None, ready=False)], "http://10.1.0.1:8080/readyz"),
        (STDIO, [pod("fd00::1", ready=False)], "http://[fd00::1]:8080/readyz"),
        (STDIO, [UNREADY, READY], None),
        (OWN, [UNREADY], None),
    ],
)
def test_whose_bridge_is_asked(server: models.McpServer, pods: list[dict[str, object]], asked: str | None) -> None:
    assert probe_target("http://x/mcp", server, Resolved(), pods).bridge == asked
