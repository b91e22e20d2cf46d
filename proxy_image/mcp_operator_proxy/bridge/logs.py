"""`GET /logs?lines=N`: the newest lines of standard error and how the processes are, for who signs with the server's key.

The lines may hold what users sent; they are redacted as they are wherever they are shown.
"""

import time
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from mcp_operator_proxy import callers
from mcp_operator_proxy.bridge.hub import Hub
from mcp_operator_proxy.bridge.stderr import LINES

PATH: Final = "/logs"
USUAL: Final = 100
_HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class LogsEndpoint:
    """An ASGI application."""

    def __init__(self, hub: Hub) -> None:
        assert hub.settings.logs_key is not None
        self._hub, self._key = hub, hub.settings.logs_key
        self._once = callers.RequestsOnce()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(Request(scope, receive))(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        said = request.headers.get(callers.REQUEST_HEADER)
        if said is None:
            return _refused(401, "only a proxy that has this server's key may read its logs", callers.REQUEST_HEADER)
        try:
            self._once.believe(self._key, said, request.method, target_of(request), time.time())
        except callers.NotBelieved as error:
            return _refused(403, f"who asks is not believed: {error}")
        wanted = request.query_params.get("lines", str(USUAL))
        if not (wanted.isascii() and wanted.isdecimal() and len(wanted) <= 6 and 1 <= int(wanted) <= LINES):
            return _refused(400, f"lines is a number from 1 to {LINES}")
        return JSONResponse(self._shown(int(wanted)), headers=_HEADERS)

    def _shown(self, lines: int) -> dict[str, Any]:
        health = self._hub.health()
        process = {
            "state": health.state.value,
            "pid": health.pid,
            "processes": health.processes,
            "restarts": health.restarts,
            "uptimeSeconds": None if health.uptime is None else round(health.uptime, 3),
            "exitCode": health.exit_code,
            "lastError": health.last_error,
        }
        found = [{"at": line.at, "pid": line.pid, "text": line.text} for line in self._hub.log.tail(lines)]
        return {"process": process, "lines": found}


def target_of(request: Request) -> str:
    """Path and query as they came."""
    query = request.scope["query_string"].decode("latin-1")
    return f"{PATH}?{query}" if query else PATH


def _refused(status: int, why: str, scheme: str | None = None) -> Response:
    more = {"www-authenticate": scheme} if scheme is not None else {}
    return JSONResponse({"error": why}, status, headers={**_HEADERS, **more})
