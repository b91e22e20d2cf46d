"""Run the proxy as a program: configuration from a folder, HTTP on a port, an orderly end on SIGTERM."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from mcp_operator_proxy.access import AccessLog
from mcp_operator_proxy.app import App
from mcp_operator_proxy.collector import Collector
from mcp_operator_proxy.egress import Egress
from mcp_operator_proxy.fastlane.protocol import LaneProtocol, lane_protocol
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.sessions.internal import Internal
from mcp_operator_proxy.swap.given import NOTHING, Given
from mcp_operator_proxy.swap.watch import follow
from mcp_operator_proxy.tasks import cancel
from mcp_operator_proxy.tls import Certificates
from mcp_operator_proxy.workers.inner import Inner
from mcp_operator_proxy.workers.place import Place
from mcp_operator_proxy.workers.siblings import HEADER

logger = logging.getLogger(__name__)
GRACE_SECONDS: Final = 25
"""For requests in flight after SIGTERM; below Kubernetes' default of 30 s."""
FIRST_CONFIG_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.05


class Server(uvicorn.Server):
    """uvicorn, but before it stops accepting, the proxy turns unready and ends its standing streams."""

    def __init__(
        self, config: uvicorn.Config, proxy: Proxy, listening: socket.socket, leave_seconds: float = 0.0
    ) -> None:
        super().__init__(config)
        self.listening = listening
        self._leave_seconds = leave_seconds
        self._proxy = proxy
        self._ending: asyncio.Task[None] | None = None
        self.started_event = asyncio.Event()
        self.stopping = asyncio.Event()
        self.beside: list[Server] = []
        """Servers of the same proxy that end with this one."""

    @property
    def port(self) -> int:
        """The port it listens on; the one that the system chose where 0 was asked for."""
        return int(self.listening.getsockname()[1])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.started_event.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # `serve` handles them; uvicorn would raise them again after its end, and the exit code would be theirs

    def stop(self, sig: signal.Signals) -> None:
        """End in order; asked a second time, at once.

        Not uvicorn's `handle_exit`: sse-starlette hooks into that and cuts off the answers in flight.
        """
        if self._ending is not None:
            for server in (self, *self.beside):
                server.force_exit = True
            return
        logger.info("stopping", extra={"signal": sig.name})
        self._ending = asyncio.get_running_loop().create_task(self._end())

    async def ended(self) -> None:
        """Wait until somebody has asked it to stop."""
        await self.stopping.wait()

    async def _end(self) -> None:
        await self._proxy.drain()
        await self._let_clients_leave()
        self.should_exit = True
        self.stopping.set()

    async def _let_clients_leave(self) -> None:
        """Go on answering, each connection for the last time, until there is none or the time is over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._leave_seconds
        states = [server.server_state for server in (self, *self.beside)]
        for connection in [connection for state in states for connection in state.connections]:
            if isinstance(connection, LaneProtocol):
                connection.leave()
        while loop.time() < until and not self.force_exit and any(state.connections for state in states):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)


@contextlib.asynccontextmanager
async def running(
    proxy: Proxy,
    host: str,
    port: int,
    *,
    grace_seconds: int = GRACE_SECONDS,
    listening: socket.socket | None = None,
    internal: socket.socket | None = None,
    leave_seconds: float = 0.0,
) -> AsyncIterator[Server]:
    """Serve `proxy` on `host:port` (0: any free port), or on `listening`, while the block runs; with TLS if it has certificates.

    `internal` is the socket on which other workers and replicas reach this one. Told to stop by a signal, it answers for
    `leave_seconds` more, for clients that keep their connections to leave before these are closed.
    """
    app = App(proxy)
    options: dict[str, Any] = {"http": lane_protocol(proxy.lane)}
    if (certificates := proxy.certificates) is not None:
        options["ssl_context_factory"] = lambda *_: certificates.context
    server = Server(_config(app, grace_seconds, **options), proxy, listening or listen(host, port), leave_seconds)
    servers = [server]
    if internal is not None:
        inner = Internal(app, proxy.holder, app.of_this_worker, Inner(proxy), HEADER)
        servers.append(
            Server(_config(inner, grace_seconds, http=lane_protocol(proxy.lane), proxy_headers=False), proxy, internal)
        )
    server.beside = servers[1:]
    async with contextlib.AsyncExitStack() as stack:
        for one in reversed(servers):  # the public one first to end, last to begin
            await stack.enter_async_context(_serving(one))
        try:
            yield server
        finally:
            await proxy.drain()
            for one in servers:
                one.should_exit = True
            await app.close()


@contextlib.asynccontextmanager
async def _serving(server: Server) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    serving = loop.create_task(server.serve([server.listening]))
    starting = loop.create_task(server.started_event.wait())
    try:
        await asyncio.wait([serving, starting], return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        yield
    finally:
        starting.cancel()
        server.should_exit = True
        await serving


def _config(app: ASGIApp, grace_seconds: int, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=grace_seconds,
        timeout_keep_alive=65,
        server_header=False,
        **options,
    )


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket. `shared` lets several processes listen on one port; the kernel spreads connections over them.

    Raises OSError, with the address in its text.
    """
    try:
        return socket.create_server((host, port), family=family(host), backlog=2048, reuse_port=shared)
    except OSError as error:
        named = (error.errno or 0) < 0  # a number of getaddrinfo, none of the system's
        reason = "the name of the host does not resolve" if named else os.strerror(error.errno or 0)
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {reason}") from error


def family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


async def serve(
    config_dir: Path,
    host: str,
    port: int,
    *,
    tls: bool = False,
    leave_seconds: float = 0.0,
    egress: Egress | None = None,
    given: Given = NOTHING,
) -> None:
    """Run until SIGTERM or SIGINT. `tls`: serve it, with the certificate of the configuration."""
    collector = Collector()
    certificates = Certificates() if tls else None
    async with Proxy(collector=collector, access=AccessLog(), certificates=certificates, egress=egress) as proxy:
        serving = running(proxy, host, port, leave_seconds=leave_seconds)
        await _follow_and_serve(proxy, config_dir, serving, collector, given=given)
    logger.info("stopped")


async def serve_at(
    config_dir: Path,
    place: Place,
    parent: int | None,
    *,
    tls: bool = False,
    leave_seconds: float = 0.0,
    egress: Egress | None = None,
    given: Given = NOTHING,
    again: bool = False,
) -> None:
    """Run as one of several until SIGTERM or SIGINT, or until `parent`, a pipe, ends. `again`: in place of one that ended."""
    collector = Collector()
    certificates = Certificates() if tls else None
    holder = place.holder()
    async with Proxy(
        collector=collector, access=AccessLog(), holder=holder, certificates=certificates, egress=egress
    ) as proxy:
        proxy.kept = place.kept()
        internal = listen(*place.internal, shared=True)
        if again:  # from here on it can be told; what was said before, the others know
            await proxy.services.lifecycle.learn()
        await _follow_and_serve(
            proxy, config_dir, _running_at(proxy, place, internal, leave_seconds), collector, parent, given=given
        )
    logger.info("stopped")


@contextlib.asynccontextmanager
async def _running_at(
    proxy: Proxy, place: Place, internal: socket.socket, leave_seconds: float
) -> AsyncIterator[Server]:
    """A worker that comes later, for one that died, lets the others answer until it can."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FIRST_CONFIG_SECONDS):
            await proxy.settled()
    listening = listen(place.host, place.port, shared=True)
    serving = running(
        proxy, place.host, place.port, listening=listening, internal=internal, leave_seconds=leave_seconds
    )
    async with serving as server:
        yield server


async def _follow_and_serve(
    proxy: Proxy,
    config_dir: Path,
    serving: contextlib.AbstractAsyncContextManager[Server],
    collector: Collector,
    parent: int | None = None,
    *,
    given: Given = NOTHING,
) -> None:
    loop = asyncio.get_running_loop()
    following = loop.create_task(follow(proxy, config_dir, given))
    try:
        async with serving as server:
            for sig in (signal.SIGTERM, signal.SIGINT) if parent is None else (signal.SIGTERM,):
                loop.add_signal_handler(sig, server.stop, sig)
            if parent is not None:
                loop.add_reader(parent, _orphaned, loop, parent, server)
            host, port = server.listening.getsockname()[:2]
            logger.info("serving", extra={"host": host, "port": port})
            collector.started()
            ended = loop.create_task(server.ended())
            await asyncio.wait([ended, following], return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()
    finally:
        await cancel([following])


def _orphaned(loop: asyncio.AbstractEventLoop, parent: int, server: Server) -> None:
    loop.remove_reader(parent)
    logger.warning("the parent process is gone")
    server.stop(signal.SIGTERM)
