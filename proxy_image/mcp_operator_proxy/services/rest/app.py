"""The FastAPI application: one for a proxy's life, wherever its configuration puts it."""

import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from mcp_operator_proxy import __version__
from mcp_operator_proxy.services.rest import docs, health, problems, servers, sessions, tools
from mcp_operator_proxy.services.rest.problems import Fault, ProblemError, problem
from mcp_operator_proxy.stores.keyvalue import StoreUnavailable

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy

logger = logging.getLogger(__name__)
TITLE: Final = "mcp-operator gateway"
ABOUT: Final = (
    "Tools of MCP servers over REST. Errors are problem details (RFC 9457). "
    "Callers authenticate as over MCP: `Authorization: Bearer KEY-OR-TOKEN` or `X-API-Key: KEY`."
)
_PLACES: Final = {"query", "path", "header", "cookie"}


def make_app(proxy: "Proxy") -> FastAPI:
    app = FastAPI(
        title=TITLE,
        version=__version__,
        description=ABOUT,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.proxy = proxy
    for router in (tools.router, sessions.router, servers.router, health.router, docs.router):
        app.include_router(router)
    tell_problems(app)
    return app


def tell_problems(app: FastAPI) -> None:
    """Whatever goes wrong is answered with problem details."""
    handlers: dict[type[Exception], Callable[[Request, Any], Awaitable[Response]]] = {
        ProblemError: _told,
        StoreUnavailable: _away,
        RequestValidationError: _invalid,
        HTTPException: _http,
        Exception: _fault,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


async def _told(_: Request, error: ProblemError) -> Response:
    return problem(error.kind, error.detail, headers=error.headers, **error.more)


async def _away(_: Request, error: StoreUnavailable) -> Response:
    return problem(problems.STORE_DOWN, str(error), retry_after=5.0)


async def _invalid(_: Request, error: RequestValidationError) -> Response:
    """Where it is wrong and what would be right, without the value."""
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return problem(problems.MALFORMED, "the body is not JSON")
    return problem(
        problems.INVALID_REQUEST,
        "the request is not what the interface describes; errors says where",
        errors=[_fault_of(one) for one in found[:10]],
    )


def _fault_of(one: dict[str, Any]) -> Fault:
    place, *path = one["loc"]
    detail = str(one["msg"])[:300]
    if place in _PLACES:
        return Fault(detail=detail, parameter=".".join(str(part) for part in path))
    return Fault(detail=detail, pointer=problems.fragment(*path))


async def _http(_: Request, error: HTTPException) -> Response:
    if error.status_code == 405:
        return problem(problems.NOT_ALLOWED, "the method is not for this path", headers=dict(error.headers or {}))
    return problem(problems.NOT_FOUND, "there is nothing at this path")


async def _fault(request: Request, error: Exception) -> Response:
    instance = f"urn:uuid:{uuid.uuid4()}"
    logger.error("request failed", exc_info=error, extra={"instance": instance, "method": request.method})
    return problem(problems.INTERNAL, "it is in the proxy's log, by its instance", instance=instance)
