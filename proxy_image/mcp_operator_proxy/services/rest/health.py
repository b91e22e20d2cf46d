"""`/health`: whether all of it works, some, or nothing."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from fastapi import APIRouter
from starlette.responses import JSONResponse

from mcp_operator_proxy import __version__, config
from mcp_operator_proxy.services.rest.asking import Asked, Asking
from mcp_operator_proxy.services.rest.models import Health, ServerHealth
from mcp_operator_proxy.services.rest.servers import state_of

Status: TypeAlias = Literal["healthy", "degraded", "down"]
router = APIRouter(tags=["health"])


def verdict(
    not_ready: str | None, servers: Sequence[ServerHealth], stores: Mapping[str, str]
) -> tuple[Status, str | None]:
    """The status and its reason. Pure."""
    if not_ready is not None:
        return "down", not_ready
    wanted = [server for server in servers if server.state != "stopped"]
    failing = [server for server in wanted if server.state == "error"]
    if failing and len(failing) == len(wanted):
        return "down", "no server answers"
    away = [name for name, state in stores.items() if state == "down"]
    if failing or away:
        what = [*away, *(server.server_id for server in failing)]
        return "degraded", f"no answer from {', '.join(what[:10])}"
    if pending := [server.server_id for server in wanted if server.state == "pending"]:
        return "degraded", f"not heard of yet: {', '.join(pending[:10])}"
    return "healthy", None


@router.get(
    "/health",
    operation_id="health",
    response_model=Health,
    responses={503: {"model": Health, "description": "It is down."}},
)
async def health(asked: Asked) -> JSONResponse:
    """`down`, with status 503: the proxy takes no calls, or has servers and none of them answers. `degraded`: one of the servers,
    Redis or the database does not. Servers that an operator has stopped do not count."""
    stores = await asked.proxy.services.stores.health()
    servers = [_server(asked, server) for server in asked.state.config.servers]
    status, reason = verdict(asked.proxy.why_not_ready(), servers, dict(stores.items()))
    began = asked.proxy.started_at
    found = Health(
        status=status,
        version=__version__,
        uptime_seconds=round((datetime.now(UTC) - began).total_seconds(), 3),
        reason=reason,
        servers=servers,
        redis=stores["redis"],
        database=stores["database"],
    )
    return JSONResponse(found.model_dump(mode="json"), 503 if status == "down" else 200)


def _server(asked: Asking, server: config.Server) -> ServerHealth:
    backend = asked.state.backends.get(server.id)
    error = backend.status.error if backend is not None else None
    return ServerHealth(
        server_id=server.id, state=state_of(asked, server, backend), error=error.message if error is not None else None
    )
