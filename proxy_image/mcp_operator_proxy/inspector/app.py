"""The FastAPI application behind `/ui/api`."""

from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI

from mcp_operator_proxy.inspector import api, sessions, swaps, tools, traffic
from mcp_operator_proxy.services.rest.app import tell_problems

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy


def make_app(proxy: "Proxy") -> FastAPI:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.proxy = proxy
    parts = APIRouter(prefix="/ui/api")
    for router in (api.router, tools.router, sessions.router, swaps.router, traffic.router):
        parts.include_router(router)
    app.include_router(parts)
    tell_problems(app)
    return app
