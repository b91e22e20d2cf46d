"""Tools of this process beside proxied ones: a FastMCP server of their own, which the proxy reaches as it reaches any other.

It listens on a free port of the loopback interface and answers only who knows a random key, so no other user of the
machine can call it.
"""

import asyncio
import contextlib
import hmac
import secrets
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

import uvicorn
from fastmcp import FastMCP
from fastmcp.tools import Tool
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_operator_proxy.library.compile import LOCAL, LocalTools

_PATH: Final = "/mcp"


class LocalServer:
    """Tools may be added and removed at any time; `start` in a running loop, `stop` in the end."""

    def __init__(self) -> None:
        self.mcp: FastMCP[Any] = FastMCP(LOCAL, dereference_schemas=False)
        self.names: set[str] = set()
        self._key = secrets.token_urlsafe(32)
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    @property
    def started(self) -> bool:
        return self._socket is not None

    def add(self, function: "Callable[..., Any] | Tool", **options: Any) -> Tool:
        """Add a function, in the place of one of the same name. Raises ValueError for one that cannot be a tool."""
        tool = function if isinstance(function, Tool) else Tool.from_function(function, **options)
        self.remove(tool.name)
        self.mcp.add_tool(tool)
        self.names.add(tool.name)
        return tool

    def remove(self, name: str) -> bool:
        """Whether there was such a tool."""
        if name not in self.names:
            return False
        self.names.remove(name)
        self.mcp.local_provider.remove_tool(name)
        return True

    async def descriptions(self) -> dict[str, tuple[str | None, dict[str, Any]]]:
        """What a listing shows of each tool: description and input schema."""
        return {t.name: (t.description, t.parameters) for t in await self.mcp.list_tools()}

    async def start(self) -> LocalTools:
        """Serve, and say where."""
        if self._socket is None:
            self._socket = socket.create_server(("127.0.0.1", 0))
            app = _Locked(self.mcp.http_app(path=_PATH), self._key)
            config = uvicorn.Config(
                app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=1
            )
            self._server = _Server(config)
            self._serving = asyncio.get_running_loop().create_task(self._server.serve([self._socket]), name=LOCAL)
            ready = asyncio.get_running_loop().create_task(self._server.ready.wait())
            await asyncio.wait([ready, self._serving], return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            if self._serving.done():
                self._serving.result()
        port = self._socket.getsockname()[1]
        return LocalTools(f"http://127.0.0.1:{port}{_PATH}", {"Authorization": f"Bearer {self._key}"})

    async def stop(self) -> None:
        if self._server is None or self._serving is None or self._socket is None:
            return
        self._server.should_exit = True
        await self._serving
        self._socket.close()
        self._server = self._serving = self._socket = None


class _Server(uvicorn.Server):
    """uvicorn as a guest: the application's signals are not its own."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Locked:
    """Answers only requests that carry the key."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._shown = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            shown = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not hmac.compare_digest(shown, self._shown):
                await send({"type": "http.response.start", "status": 401, "headers": []})
                await send({"type": "http.response.body", "body": b""})
                return
        await self._app(scope, receive, send)
