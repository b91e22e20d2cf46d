"""Real MCP servers on loopback ports, in this process, that can be killed and started again.

async with ServedMCP(my_fastmcp_server) as served:
    served.url            # http://127.0.0.1:PORT/mcp
    await served.stop()   # the port refuses connections
    await served.start()  # the same port, new sessions
"""

import asyncio
import contextlib
import json
import os
import socket
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from secrets import choice
from types import TracebackType
from typing import Any, Final, Self

import uvicorn
from fastmcp import Client, FastMCP
from mcp_types import ServerNotification
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def dead_port() -> int:
    """A port at which nobody answers for as long as this process lives: it is taken, and nobody listens.

    One that is merely free now may be another test's in a moment.
    """
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    _TAKEN.append(taken)
    return int(taken.getsockname()[1])


_TAKEN: list[socket.socket] = []


def free_port() -> int:
    """A port that was free a moment ago, and that the system gives to nobody who does not ask for it (`ip_local_port_range`)."""
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port := choice(_QUIET)))
            except OSError:
                continue
            return port


_QUIET: Final = range(15_000, 30_000)


class ServedApp:
    """An ASGI app on a loopback port of its own. After `stop` it can be `start`ed again on the same port, which nobody else gets."""

    def __init__(self, app: Callable[[], ASGIApp], path: str = "/mcp") -> None:
        self._app = app
        self._path = path
        self.port = 0
        self._server: _KillableServer | None = None
        self._serving: asyncio.Task[None] | None = None
        self._holding: weakref.finalize[[int], Self] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self._path}"

    async def start(self) -> None:
        config = uvicorn.Config(
            self._app(),
            host="127.0.0.1",
            port=self.port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        server = _KillableServer(config, self._hold)
        self._server, self._serving = server, asyncio.create_task(server.serve())
        waiting = asyncio.create_task(server.up.wait())
        await asyncio.wait([waiting, self._serving], return_when=asyncio.FIRST_COMPLETED)
        if self._serving.done():
            self._serving.result()
        self.port = int(server.servers[0].sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """As a kill would: connections are cut, nothing is said to anybody."""
        server, serving = self._server, self._serving
        if server is None or serving is None:
            return
        self._server = self._serving = None
        server.killed.set()
        await serving

    def _hold(self) -> None:
        """Keep the port while nobody listens at it: who asks for any port does not get one that is taken."""
        if self._holding is not None:
            return
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server, which does so too, gets it again
        holder.bind(("127.0.0.1", self.port))
        self._holding = weakref.finalize(self, os.close, holder.detach())

    def cut(self) -> None:
        """Cut all connections and serve on: sessions and tools that run stay."""
        assert self._server is not None
        for connection in list(self._server.server_state.connections):
            if (transport := getattr(connection, "transport", None)) is not None:
                transport.abort()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.stop()
        if self._holding is not None:
            self._holding()
            self._holding = None


class _KillableServer(uvicorn.Server):
    """uvicorn without its signal handling, and with an end that does not wait for anything."""

    def __init__(self, config: uvicorn.Config, on_closed: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_closed = on_closed
        self.up = asyncio.Event()
        self.killed = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.up.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.killed.wait()

    async def shutdown(self, sockets: Any = None) -> None:  # noqa: ARG002 - none are given
        loop = asyncio.get_running_loop()
        for listening in self.servers:
            for sock in listening.sockets:
                loop.remove_reader(sock.fileno())
        for _ in range(3):  # Python 3.11 loses, open, a connection that is being accepted while its server closes
            await asyncio.sleep(0)
        for listening in self.servers:
            listening.close()
        self._on_closed()
        for _ in range(10):  # one that was being accepted just now is among them some turns of the loop later
            for connection in list(self.server_state.connections):
                if (transport := getattr(connection, "transport", None)) is not None:
                    transport.abort()
            await asyncio.sleep(0)
        for task in list(self.server_state.tasks):
            task.cancel()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks)
        await self.lifespan.shutdown()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


class ServedMCP(ServedApp):
    """A FastMCP server over streamable HTTP, or with `transport="sse"` over HTTP+SSE.

    `era="legacy"` refuses the 2026-07-28 era, as a server of an older library does, and `era="modern"` the others.
    `requests` are the headers that came, `verbs` the HTTP methods, `methods` the JSON-RPC methods.
    """

    def __init__(self, mcp: FastMCP[Any], *, transport: str = "http", era: str = "both", **options: Any) -> None:
        super().__init__(
            lambda: _Recorder(self, mcp.http_app(transport=transport, **options), era),  # type: ignore[arg-type]
            "/sse" if transport == "sse" else "/mcp",
        )
        self.mcp = mcp
        self.requests: list[dict[str, str]] = []
        self.methods: list[str] = []
        self.verbs: list[str] = []


class _Recorder:
    def __init__(self, served: ServedMCP, app: ASGIApp, era: str) -> None:
        self._served = served
        self._app = app
        self._era = era

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        self._served.requests.append(headers)
        self._served.verbs.append(scope["method"])
        if self._era == "legacy" and headers.get("mcp-protocol-version", "") >= "2026":
            body = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Bad Request: unsupported protocol version"}}'
            await Response(body, 400, media_type="application/json")(scope, receive, send)
            return

        async def recording() -> Message:
            message = await receive()
            with contextlib.suppress(ValueError, TypeError, KeyError):
                self._served.methods.append(json.loads(message.get("body", b""))["method"])
            return message

        if self._era == "modern" and headers.get("mcp-protocol-version", "") < "2026":
            await recording()
            body = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32022,"message":"Unsupported protocol version"}}'
            await Response(body, 400, media_type="application/json")(scope, receive, send)
            return

        await self._app(scope, recording, send)


class HungServer:
    """Accepts connections and never says a word."""

    def __init__(self, port: int = 0) -> None:
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def _accept(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)

    @property
    def connections(self) -> int:
        """How many were accepted so far."""
        return len(self._writers)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()


async def eventually(check: Callable[[], Any | Awaitable[Any]], seconds: float = 30.0) -> Any:
    """Wait until `check` returns something true, and return it."""
    async with asyncio.timeout(seconds):
        while True:
            found = check()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.01)


class Ears:
    """A client's message handler that keeps the methods of the notifications it heard."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def __call__(self, message: ServerNotification | Exception) -> None:
        if not isinstance(message, Exception):
            self.heard.append(message.method)


@contextlib.asynccontextmanager
async def client(url: str, mode: str = "auto", **options: Any) -> AsyncIterator[Client[Any]]:
    """A FastMCP client: `mode` is `legacy` (the handshake eras) or `auto` (2026-07-28 where the server speaks it)."""
    async with Client(url, mode=mode, **options) as connected:
        yield connected
