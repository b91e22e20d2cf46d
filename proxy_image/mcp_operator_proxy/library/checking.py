"""A connection to one server, made to see whether it works."""

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace

from mcp_operator_proxy.backends.check import check, check_host
from mcp_operator_proxy.backends.connect import Target
from mcp_operator_proxy.backends.resolved import ResolvedServer
from mcp_operator_proxy.backends.stdio import StdioHost
from mcp_operator_proxy.library.results import ConnectionTest


async def check_server(
    name: str, resolved: ResolvedServer, *, seconds: float | None, attempts: int | None
) -> ConnectionTest:
    """Connect on connections of its own, or with a process of its own; unset arguments are the server's settings."""
    started = time.perf_counter()
    retry = resolved.server.retry
    if attempts is not None:
        retry = retry.model_copy(update={"attempts": attempts})
    async with _target(resolved) as (target, host):
        timed = target if seconds is None else replace(target, connect_timeout=seconds)
        found = await (check(timed, retry) if host is None else check_host(host, timed, retry))
    return ConnectionTest(
        name,
        time.perf_counter() - started,
        attempts=found.attempts,
        error=found.error,
        protocol_version=found.protocol_version,
        server_name=found.server_name,
        server_version=found.server_version,
        transport="stdio" if resolved.server.stdio is not None and found.ok else found.transport,
    )


@contextlib.asynccontextmanager
async def _target(resolved: ResolvedServer) -> AsyncIterator[tuple[Target, StdioHost | None]]:
    stdio = resolved.server.stdio
    if stdio is None:
        yield resolved.target(), None
        return
    host = StdioHost(resolved.server.id, stdio, resolved.env, open_seconds=resolved.server.connect_timeout_seconds)
    try:
        yield resolved.target(await host.start()), host
    finally:
        await host.stop()
