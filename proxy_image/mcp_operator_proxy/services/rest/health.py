"""`/health`: whether all of it works, some, or nothing."""

import asyncio

from fastapi import APIRouter
from starlette.responses import JSONResponse

from mcp_operator_proxy.services.rest import own, together
from mcp_operator_proxy.services.rest.asking import Asked
from mcp_operator_proxy.services.rest.models import Health

router = APIRouter(tags=["health"])


@router.get(
    "/health",
    operation_id="health",
    response_model=Health,
    responses={503: {"model": Health, "description": "It is down."}},
)
async def health(asked: Asked) -> JSONResponse:
    """`down`, with status 503: the proxy takes no calls, or has servers and none of them answers. `degraded`: one of the servers,
    Redis, the database or a worker does not. Servers that an operator has stopped do not count. Of several workers the worst."""
    siblings = asked.proxy.services.siblings
    alone, others = await asyncio.gather(own.health(asked.proxy), siblings.ask("/health", Health))
    found = together.health(alone, others.by_worker, others.missing)
    return JSONResponse(found.model_dump(mode="json"), 503 if found.status == "down" else 200)
