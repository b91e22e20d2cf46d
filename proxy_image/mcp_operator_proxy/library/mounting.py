"""The proxy inside somebody else's ASGI application: under a sub-path, with CORS, an API key and the lifespan."""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from fnmatch import fnmatchcase
from typing import Any, Final

from starlette._utils import get_route_path
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_operator_proxy.auth import PRINCIPAL, REALM, Authenticator, credentials

logger = logging.getLogger(__name__)
_OPEN: Final = frozenset({"/healthz", "/readyz"})
"""Probes ask without a key."""
Running = Callable[[], AbstractAsyncContextManager[Any]]


def embedded(app: ASGIApp, running: Running, *, keys: Authenticator | None, cors_origins: Sequence[str]) -> ASGIApp:
    """`app` for a mount point, or to be served as it is: then the lifespan runs `running`."""
    inner: ASGIApp = _Embedded(app, running, keys, tuple(cors_origins))
    if not cors_origins:
        return inner
    every = "*" in cors_origins
    exact = [origin for origin in cors_origins if "*" not in origin]
    patterns = [origin for origin in cors_origins if "*" in origin and origin != "*"]
    return CORSMiddleware(
        inner,
        allow_origins=["*"] if every else exact,
        allow_origin_regex="|".join(_regex(pattern) for pattern in patterns) or None,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=["mcp-session-id", "www-authenticate"],
        max_age=600,
    )


def _regex(pattern: str) -> str:
    import re  # noqa: PLC0415 - seldom needed

    return re.escape(pattern).replace(r"\*", "[^/]*")


def mount(app: Starlette, path: str, mounted: ASGIApp, running: Running) -> None:
    """Mount, and run `running` around the application's own lifespan: Starlette runs none of mounted applications."""
    app.mount(path, mounted)
    own = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(application: Any) -> AsyncIterator[Any]:
        async with running(), own(application) as state:
            yield state

    app.router.lifespan_context = lifespan


class _Embedded:
    def __init__(self, app: ASGIApp, running: Running, keys: Authenticator | None, origins: tuple[str, ...]) -> None:
        self._app = app
        self._running = running
        self._keys = keys
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = get_route_path(scope) or "/"
        scope = {**scope, "path": path, "headers": self._without_passed_origin(scope["headers"])}
        if self._keys is not None and path not in _OPEN:
            scope[PRINCIPAL] = self._keys.authenticate(*credentials(scope))
            if scope[PRINCIPAL] is None:
                await _unauthorized(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _without_passed_origin(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """An origin that CORS lets in has passed the check of Origin too; all others meet the proxy's own."""
        return [(k, v) for k, v in headers if k != b"origin" or not self._passes(v.decode("latin-1"))]

    def _passes(self, origin: str) -> bool:
        return any(fnmatchcase(origin.lower(), pattern.lower()) for pattern in self._origins)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            async with self._running():
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception as error:
            logger.exception("the proxy did not start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.shutdown.complete"})


_unauthorized: Final = JSONResponse(
    {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": -32600, "message": "an API key is needed, and it must be a known one"},
    },
    401,
    {"www-authenticate": REALM.decode()},
)
