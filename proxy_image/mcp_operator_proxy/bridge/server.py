"""Runs a bridge: the hub with its processes, the HTTP server, and their end in the right order."""

import asyncio
import contextlib
import logging
import signal
import socket
from pathlib import Path

import uvicorn

from mcp_operator_proxy.bridge.app import create_app
from mcp_operator_proxy.bridge.divided import DividedHub
from mcp_operator_proxy.bridge.hub import Hub
from mcp_operator_proxy.bridge.isolated import IsolatedHub
from mcp_operator_proxy.bridge.metrics import Metrics
from mcp_operator_proxy.bridge.pipes import SERVING
from mcp_operator_proxy.bridge.settings import Settings
from mcp_operator_proxy.bridge.shared import SharedHub
from mcp_operator_proxy.bridge.stderr import ServerLog
from mcp_operator_proxy.bridge.users import UsersHub

log = logging.getLogger(__name__)


class _HttpServer(uvicorn.Server):
    """uvicorn for one of many servers in a process: no signals, no words about processes, no ten ticks a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._end = asyncio.Event()

    def end(self) -> None:
        self._end.set()

    async def run_until_end(self, listener: socket.socket) -> None:
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup(sockets=[listener])
        await self._end.wait()
        await self.shutdown(sockets=[listener])


class Bridge:
    """One bridge on one socket. `serve` returns when it has stopped and left no process behind."""

    def __init__(self, settings: Settings, log: ServerLog | None = None) -> None:
        self.settings = settings
        self.hub = create_hub(settings, log)
        self._stop = asyncio.Event()
        self._socket = bind_unix(settings.uds) if settings.uds else bind(settings.host, settings.port)
        config = uvicorn.Config(
            create_app(self.hub),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            ws="none",
        )
        self._http = _HttpServer(config)

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        if self.settings.uds:
            return f"http://localhost{self.settings.path}"
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http://{host}:{self.port}{self.settings.path}"

    def stop(self) -> None:
        self._stop.set()

    async def serve(self) -> None:
        hub = asyncio.create_task(self.hub.run())
        http = asyncio.create_task(self._http.run_until_end(self._socket))
        sweeper = asyncio.create_task(self.hub.sweep())
        stopping = asyncio.create_task(self._stop.wait())
        place = self.settings.uds or self.url
        log.info("%s (%s) is served at %s", self.settings.name, self.settings.isolation, place)
        serving = Path(self.settings.pipes) / SERVING if self.settings.pipes else None
        try:
            if serving is not None:
                serving.touch()
            await asyncio.wait({hub, http, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done() and self.settings.linger:
                self.hub.retire()
                await asyncio.wait({hub, http}, timeout=self.settings.linger, return_when=asyncio.FIRST_COMPLETED)
            self.hub.drain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.drain_timeout):
                    await self.hub.quiet()
        finally:
            for task in (sweeper, stopping):
                task.cancel()
            self.hub.stop()
            await asyncio.wait({hub})
            self._http.end()
            await asyncio.wait({http})
            self._socket.close()
            if serving is not None:
                serving.unlink(missing_ok=True)
        hub.result()
        http.result()


def create_hub(settings: Settings, log: ServerLog | None = None) -> Hub:
    if settings.isolation == "shared":
        return SharedHub(settings, Metrics(), log)
    if settings.isolation == "user" and settings.credential_env is not None:
        return UsersHub(settings, Metrics(), log)  # no process for the lists of all: it would have no token
    if settings.uds is not None or settings.isolation == "user":
        return DividedHub(settings, Metrics(), log)
    return IsolatedHub(settings, Metrics(), log)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048)
    listener.set_inheritable(False)
    return listener


def bind_unix(path: str) -> socket.socket:
    """A listening unix socket. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError where the address can't be had."""
    bridge = Bridge(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, bridge.stop)
    await bridge.serve()
