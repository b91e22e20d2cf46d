"""`/servers`: what there is, how it is, and for operators its life. Any worker answers for all of its pod."""

from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query

from mcp_operator_proxy.services.rest import own, problems, together
from mcp_operator_proxy.services.rest.asking import Asked, Asking
from mcp_operator_proxy.services.rest.models import Logs, Server, ServerList
from mcp_operator_proxy.services.rest.problems import ProblemError, responses

router = APIRouter(prefix="/servers", tags=["servers"])
_COMMON = (problems.UNAUTHENTICATED, problems.FORBIDDEN, problems.INVALID_REQUEST, problems.WRONG_HOST)
_ONE = (*_COMMON, problems.UNKNOWN_SERVER, problems.AMBIGUOUS_SERVER)


@router.get("", operation_id="listServers", responses=responses(*_COMMON))
async def list_servers(asked: Asked) -> ServerList:
    """All servers of the configuration, in its order."""
    return await _servers(asked)


@router.get(
    "/{server_id:path}/logs",
    operation_id="serverLogs",
    responses=responses(*_ONE, problems.NO_PROCESS),
)
async def logs(asked: Asked, server_id: str, lines: Annotated[int, Query(ge=1, le=1000)] = 100) -> Logs:
    """The newest lines that a stdio server wrote to standard error, for operators; those of all workers' processes, in order of
    time. Of a server in a pod of its own one replica's bridge is asked; where it has none, the problem says how to read them."""
    asked.needs_operator()
    server = asked.server(server_id)
    query = urlencode({"server": server.id, "lines": lines})
    others = await asked.proxy.services.siblings.ask(f"/logs?{query}", Logs)
    alone = own.logs(asked.proxy, server.id, lines)
    found = together.logs([*([alone] if alone else []), *others.by_worker.values()], lines)
    if found is None and (behind := await asked.proxy.services.bridges_logs.of(server.id, lines)) is not None:
        if behind.elsewhere is not None:
            raise ProblemError(problems.NO_PROCESS, behind.elsewhere, server_id=server.id)
        found = own.of_bridge(server.id, behind.lines)
    if found is None:
        why = "it is reached at a URL" if server.id in asked.state.backends else "an operator has stopped it"
        raise ProblemError(problems.NO_PROCESS, f"the server has no process here: {why}", server_id=server.id)
    return found


@router.get("/{server_id:path}", operation_id="getServer", responses=responses(*_ONE))
async def get_server(asked: Asked, server_id: str) -> Server:
    """One server."""
    return await _server(asked, asked.server(server_id).id)


@router.post(
    "/{server_id:path}/{action}",
    operation_id="operateServer",
    responses=responses(*_ONE, problems.STORE_DOWN),
)
async def operate(asked: Asked, server_id: str, action: Literal["start", "stop", "restart"]) -> Server:
    """For operators: `stop` lets calls in flight end, then connections and processes, and takes the tools from the lists;
    `start` brings them back; `restart` ends processes at once, lifts a crash loop, and connects anew."""
    asked.needs_operator()
    server = asked.server(server_id)
    await asked.proxy.services.lifecycle.act(action, server.id)
    return await _server(asked, server.id)


async def _servers(asked: Asking, only: str | None = None) -> ServerList:
    alone = own.servers(asked.proxy, only)  # at once: only now does the configuration certainly have it
    query = f"?{urlencode({'server': only})}" if only is not None else ""
    others = await asked.proxy.services.siblings.ask(f"/servers{query}", ServerList)
    return together.servers(alone, others.by_worker)


async def _server(asked: Asking, server_id: str) -> Server:
    return (await _servers(asked, server_id)).servers[0]
