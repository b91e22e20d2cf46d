"""`services.inspector`: `/ui` and `/ui/api` behind the same listener as MCP, where the configuration wants them.

Hosts and origins are checked by `App`, as for MCP. The page itself is for anybody, as a browser shows no credential when it
loads one; what it reads is answered to callers that MCP answers.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_operator_proxy.auth import PRINCIPAL, credentials
from mcp_operator_proxy.authn.http import Refusal, caller
from mcp_operator_proxy.config import UI_PATH, within
from mcp_operator_proxy.config import Inspector as Settings
from mcp_operator_proxy.guard import rebound
from mcp_operator_proxy.inspector.pages import HEADERS, Pages
from mcp_operator_proxy.recording import WATCH_SECONDS, Recorder
from mcp_operator_proxy.services.rest.service import refused

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy
    from mcp_operator_proxy.swap.prepared import Prepared

logger = logging.getLogger(__name__)
API: Final = f"{UI_PATH}/api"
UNKNOWN: Final = "mcp_operator_proxy.unknown"
"""Key in an ASGI scope of a request by somebody who should say who he is, and has not."""
ME: Final = f"{API}/me"
_OF_API: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Of answers of the interface: JSON, never a page, never kept."""


class Inspector:
    """The application is made with the first configuration that wants it, and is the same from then on."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self._app: ASGIApp | None = None
        self._settings: Settings | None = None
        self._pages = Pages()
        self.recorder: Recorder | None = None
        """While somebody watches, and some time after."""
        self._ending: asyncio.TimerHandle | None = None

    def use(self, prepared: "Prepared") -> None:
        settings = self._settings = prepared.config.inspector
        if self.recorder is not None and (settings is None or not settings.traffic):
            self._stop()
        elif self.recorder is not None and settings is not None:
            self.recorder.size = settings.traffic_size
        if settings is not None and self._app is None:
            from mcp_operator_proxy.inspector.app import make_app  # noqa: PLC0415 - FastAPI, for who has an inspector

            self._app = make_app(self._proxy)

    async def close(self) -> None:
        self._stop()

    # Traffic

    def watch(self, who: str) -> Recorder | None:
        """Record the exchanges of a caller, by its key, or of `EVERYBODY`, from now on; None where that is switched off."""
        settings = self._settings
        if settings is None or not settings.traffic:
            return None
        if self.recorder is None:
            self.recorder = self._proxy.lane.recorder = Recorder(settings.traffic_size)
            self._ending = asyncio.get_running_loop().call_later(WATCH_SECONDS, self._look)
        self.recorder.watch(who)
        return self.recorder

    def _look(self) -> None:
        """Stop when nobody watches any more."""
        left = self.recorder.seconds_left if self.recorder is not None else 0.0
        if left <= 0:
            self._stop()
        else:
            self._ending = asyncio.get_running_loop().call_later(left, self._look)

    def _stop(self) -> None:
        """What was recorded goes too: nobody asked to have it kept."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        self.recorder = self._proxy.lane.recorder = None

    # Requests

    def serves(self, path: str) -> bool:
        """Whether a request for this path, without a slash at its end, is for the inspector."""
        return self._settings is not None and within(path, UI_PATH)

    def answers(self, path: str) -> bool:
        """Whether what is refused at this path is told as problem details."""
        return self._settings is not None and within(path, API)

    def secured(self, path: str, send: Send) -> Send:
        """With the headers that every answer at such a path has, also one that is refused before it comes here."""
        wanted = _OF_API if within(path, API) else HEADERS
        lines = [(name.encode(), value.encode()) for name, value in wanted.items()]

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                has = {name for name, _ in message["headers"]}
                more = [line for line in lines if line[0] not in has]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        return secured

    async def __call__(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        if not within(path, API):
            await (await self._pages.answer(path, scope))(scope, receive, send)
            return
        state = self._proxy.state
        assert state is not None
        found = await caller(scope, state)
        if isinstance(found, Refusal):
            if path != ME or credentials(scope) != (None, None):
                await _refusal(found)(scope, receive, send)
                return
            scope[PRINCIPAL] = None
            scope[UNKNOWN] = True
        elif found is None and "origin" not in (headers := Headers(scope=scope)):
            strange = rebound(state.config, host=headers.get("host", ""))
            if strange is not None:
                await refused(*strange)(scope, receive, send)
                return
        assert self._app is not None
        scope["path"] = path
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.debug("a request failed", exc_info=True)


def _refusal(found: Refusal) -> Response:
    return refused(found.status, found.message, dict(found.headers))
