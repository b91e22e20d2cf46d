"""Run the proxy as a program: configuration from a folder, HTTP on a port, an orderly end on SIGTERM."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn

from mcp_operator_proxy.app import App
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.swap.watch import follow

logger = logging.getLogger(__name__)
GRACE_SECONDS: Final = 25
"""For requests in flight after SIGTERM; below Kubernetes' default of 30 s."""


class Server(uvicorn.Server):
    """uvicorn, but before it stops accepting, the proxy turns unready and ends its standing streams."""

    def __init__(self, config: uvicorn.Config, proxy: Proxy) -> None:
        super().__init__(config)
        self._proxy = proxy
        self._ending: asyncio.Task[None] | None = None
        self.started_event = asyncio.Event()
        self.stopping = asyncio.Event()

    @property
    def port(self) -> int:
        """The port it listens on, once started; the one that the system chose where 0 was asked for."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    async def startup(self, sockets: "list[object] | None" = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        self.started_event.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # `serve` handles them; uvicorn would raise them again after its end, and the exit code would be theirs

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._ending is not None:
            super().handle_exit(sig, frame)  # a second signal: now
            self.force_exit = True
            return
        logger.info("stopping", extra={"signal": signal.Signals(sig).name})
        self._ending = asyncio.get_running_loop().create_task(self._end(sig))

    async def ended(self) -> None:
        """Wait until somebody has asked it to stop."""
        await self.stopping.wait()

    async def _end(self, sig: int) -> None:
        await self._proxy.drain()
        super().handle_exit(sig, None)
        self.stopping.set()


@contextlib.asynccontextmanager
async def running(proxy: Proxy, host: str, port: int, *, grace_seconds: int = GRACE_SECONDS) -> AsyncIterator[Server]:
    """Serve `proxy` on `host:port` (0: any free port) while the block runs."""
    config = uvicorn.Config(
        App(proxy),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=grace_seconds,
        timeout_keep_alive=65,
        server_header=False,
    )
    server = Server(config, proxy)
    serving = asyncio.get_running_loop().create_task(server.serve())
    starting = asyncio.get_running_loop().create_task(server.started_event.wait())
    try:
        await asyncio.wait([serving, starting], return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            raise OSError(f"cannot listen on {host}:{port}")
        yield server
    finally:
        starting.cancel()
        if not serving.done():
            await proxy.drain()
            server.should_exit = True
        with contextlib.suppress(SystemExit):
            await serving


async def serve(config_dir: Path, host: str, port: int) -> None:
    """Run until SIGTERM or SIGINT."""
    async with Proxy() as proxy:
        following = asyncio.get_running_loop().create_task(follow(proxy, config_dir))
        try:
            async with running(proxy, host, port) as server:
                loop = asyncio.get_running_loop()
                for sig in (signal.SIGTERM, signal.SIGINT):
                    loop.add_signal_handler(sig, server.handle_exit, sig, None)
                logger.info("serving", extra={"host": host, "port": server.port})
                ended = loop.create_task(server.ended())
                await asyncio.wait([ended, following], return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    following.result()
        finally:
            following.cancel()
            await asyncio.wait([following])
    logger.info("stopped")
