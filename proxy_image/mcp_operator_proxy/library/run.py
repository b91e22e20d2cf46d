"""Run a `ToolProxy` as a program: on stdin and stdout, or on a port, until its client leaves or a signal comes."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator
from typing import Final

from mcp_operator_proxy.fronts.stdio import serve_stdio
from mcp_operator_proxy.fronts.takeover import Pipes
from mcp_operator_proxy.library.proxy import ToolProxy
from mcp_operator_proxy.serve import listen, running
from mcp_operator_proxy.tasks import cancel

logger = logging.getLogger(__name__)
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
GRACE_SECONDS: Final = 10
"""For requests in flight after a signal; a second one ends them at once."""


async def run_stdio(proxy: ToolProxy, pipes: Pipes) -> None:
    """Serve the client at the other end of `pipes` until it leaves."""
    signalled = asyncio.Event()
    if not await _started(proxy, signalled):
        return
    async with proxy:
        loop = asyncio.get_running_loop()
        serving = loop.create_task(serve_stdio(proxy.proxy.endpoints[proxy.path].channels, pipes), name="stdio")
        stopped = asyncio.Event()
        with _signals(stopped.set, serving.cancel):
            stopping = loop.create_task(stopped.wait())
            await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                await proxy.proxy.drain()
                await asyncio.wait([serving], timeout=GRACE_SECONDS)
            stopping.cancel()
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving


async def run_http(proxy: ToolProxy, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve on `host:port` (0: any free one) until SIGTERM or SIGINT; `announce` gets the base URL. Raises OSError."""
    listening = listen(host, port)
    signalled = asyncio.Event()
    with contextlib.closing(listening):
        if not await _started(proxy, signalled):
            return
        async with proxy, running(proxy.proxy, host, port, grace_seconds=GRACE_SECONDS, listening=listening) as server:
            loop = asyncio.get_running_loop()
            for sig in SIGNALS:
                loop.add_signal_handler(sig, server.stop, sig)
            if signalled.is_set():  # while the server began to listen
                return
            shown = f"[{host}]" if ":" in host else host
            announce(f"http://{shown}:{server.port}")
            await server.ended()


async def _started(proxy: ToolProxy, signalled: asyncio.Event) -> bool:
    """Start it, which may take as long as its servers do; False where a signal came first. From now on they are handled."""
    loop = asyncio.get_running_loop()
    for sig in SIGNALS:
        loop.add_signal_handler(sig, signalled.set)
    starting, stopping = loop.create_task(proxy.start()), loop.create_task(signalled.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    await cancel([stopping])
    if not signalled.is_set():
        await starting
        return True
    await cancel([starting])
    await proxy.close()
    return False


@contextlib.contextmanager
def _signals(first: Callable[[], object], second: Callable[[], object]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    then = [second, first]

    def handle() -> None:
        (then.pop() if len(then) > 1 else then[0])()

    for sig in SIGNALS:
        loop.add_signal_handler(sig, handle)
    try:
        yield
    finally:
        for sig in SIGNALS:
            loop.remove_signal_handler(sig)
