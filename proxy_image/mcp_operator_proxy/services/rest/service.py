"""`services.rest`: the REST interface behind the same listener as MCP, where the configuration has one.

Hosts, origins and callers are checked by `App`, as for MCP; here bodies are bounded before anything parses them.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_operator_proxy.bodies import read_body, replaying
from mcp_operator_proxy.config import REST_PATHS, within
from mcp_operator_proxy.depth import deeper

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy
    from mcp_operator_proxy.swap.prepared import Prepared

logger = logging.getLogger(__name__)
CALL: Final = "/tools/call"
OPEN: Final = ("/health", "/openapi.json", "/docs")
"""Answered without a credential: a browser and a load balancer have none, and nothing of a caller's stands there."""


class Rest:
    """The application is made with the first configuration that wants it, and is the same from then on."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self._app: ASGIApp | None = None
        self._prefix: str | None = None

    def use(self, prepared: "Prepared") -> None:
        rest = prepared.config.rest
        self._prefix = rest.prefix if rest is not None else None
        if rest is not None and self._app is None:
            from mcp_operator_proxy.services.rest.app import make_app  # noqa: PLC0415 - FastAPI, for who serves REST

            self._app = make_app(self._proxy)

    async def close(self) -> None: ...

    def serves(self, path: str) -> bool:
        """Whether a request for this path, without a slash at its end, is for the REST interface."""
        prefix = self._prefix
        return prefix is not None and any(within(path, prefix + root) for root in REST_PATHS)

    def is_open(self, path: str) -> bool:
        return any(within(path, (self._prefix or "") + root) for root in OPEN)

    async def __call__(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; who calls stands in the scope."""
        state, app = self._proxy.state, self._app
        assert state is not None
        assert app is not None
        limits = state.config.limits
        scope["path"] = path
        scope["root_path"] = scope.get("root_path", "") + (self._prefix or "")
        if scope["method"] in ("POST", "PUT", "PATCH"):
            body = await read_body(receive, limits.max_bytes)
            if body is None:
                await too_large(limits.max_bytes)(scope, receive, send)
                return
            if deeper(body, limits.max_depth):
                await too_deep(limits.max_depth)(scope, receive, send)
                return
            receive = replaying(body, receive)
            recorder = self._proxy.services.inspector.recorder
            if recorder is not None and path == (self._prefix or "") + CALL:  # other bodies hold credentials
                send = recorder.watching(scope, path, body, send)
        try:
            with self._proxy.metrics.in_flight:
                await app(scope, receive, send)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.debug("a request failed", exc_info=True)


# Answers in front of the application. Whoever asks for them serves REST, so its libraries are there.


def too_large(most: int) -> Response:
    from mcp_operator_proxy.services.rest.problems import TOO_LARGE, problem  # noqa: PLC0415 - FastAPI

    return problem(TOO_LARGE, f"the body is larger than {most} bytes")


def too_deep(most: int) -> Response:
    from mcp_operator_proxy.services.rest.problems import MALFORMED, problem  # noqa: PLC0415 - FastAPI

    return problem(MALFORMED, f"values stand more than {most} levels deep within each other")


def refused(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """What `App` has refused: a host, an origin, a caller."""
    from mcp_operator_proxy.services.rest import problems  # noqa: PLC0415 - FastAPI

    kinds = {401: problems.UNAUTHENTICATED, 421: problems.WRONG_HOST, 503: problems.STORE_DOWN}
    return problems.problem(kinds.get(status, problems.FORBIDDEN), detail, headers=headers)
