"""`swaps` and `definitions`: what has changed, and what waits to be approved."""

from collections.abc import Collection

from fastapi import APIRouter

from mcp_operator_proxy.inspector import own, together
from mcp_operator_proxy.inspector.asking import Look
from mcp_operator_proxy.inspector.models import Change, Definitions, SwapItem, Swaps

router = APIRouter()
HIDDEN = "only operators of the inspector are told why"


@router.get("/swaps")
async def swaps(look: Look) -> Swaps:
    """The newest first. Who is no operator is told of the servers and routes that he sees."""
    others = await look.proxy.services.siblings.ask_all("/inspector/swaps", Swaps)
    shown = together.swaps(own.swaps(look.proxy), others)
    if look.is_operator:
        return shown
    servers = await look.servers()
    routes = {route.path for route in look.state.config.routes}
    return shown.model_copy(update={"items": [_for_others(item, servers, routes) for item in shown.items]})


@router.get("/definitions")
async def definitions(look: Look) -> Definitions:
    """Of servers that the caller may see: definitions that are not approved. What a quarantined one says is for operators."""
    seen = await look.servers()
    others = await look.proxy.services.siblings.ask_all("/inspector/definitions", Definitions)
    shown = together.definitions(own.definitions(look.proxy), others)
    mine = [item for item in shown.items if item.server in seen]
    if look.is_operator:
        return Definitions(items=mine)
    tools = await look.tools()
    return Definitions(items=[item for item in mine if (item.server, item.tool) in tools])


def _for_others(item: SwapItem, servers: Collection[str], routes: Collection[str]) -> SwapItem:
    changes = [change for change in item.changes if _is_told(change, servers, routes)]
    message = HIDDEN if item.message is not None else None
    return item.model_copy(update={"changes": changes, "message": message, "total": len(changes)})


def _is_told(change: Change, servers: Collection[str], routes: Collection[str]) -> bool:
    return change.name in (servers if change.kind == "server" else routes) and change.kind != "setting"
