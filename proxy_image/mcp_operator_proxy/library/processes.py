"""The processes of stdio servers, for `ToolProxy`: their standard error, and a restart."""

import asyncio
import contextlib
import time
from typing import Final

from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.stdio import StdioHost
from mcp_operator_proxy.library.errors import NoProcess

RESTART_SECONDS: Final = 30.0
_FAILED: Final = frozenset({"backoff", "crash-loop"})


def host_of(server: str, backend: Backend | None) -> StdioHost:
    """What runs a server's processes. Raises NoProcess."""
    if backend is None:
        raise NoProcess(f"{server} is switched off, so it has no process")
    if backend.host is None:
        raise NoProcess(f"{server} is reached at a URL, so it has no process here")
    return backend.host


async def restart(host: StdioHost, seconds: float) -> None:
    """End the processes and start anew; until the new one serves or has failed, at most so long."""
    began, ended = time.monotonic(), host.report().restarts

    def settled() -> bool:
        report = host.report()
        if report.state == "ready":
            return report.uptime_seconds is not None and report.uptime_seconds <= time.monotonic() - began
        return report.state == "stopped" or (report.state in _FAILED and report.restarts > ended)

    host.restart()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not settled():  # noqa: ASYNC110 - a process tells nobody that it has started
                await asyncio.sleep(0.01)
