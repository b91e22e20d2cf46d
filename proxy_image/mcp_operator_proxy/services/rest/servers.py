"""`/servers`: what there is, how it is, and for operators its life."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from mcp_operator_proxy import config
from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.services.lifecycle import Action, NotShared
from mcp_operator_proxy.services.rest import problems
from mcp_operator_proxy.services.rest.asking import Asked, Asking
from mcp_operator_proxy.services.rest.models import LogLine, Logs, Process, Server, ServerList, ServerState
from mcp_operator_proxy.services.rest.problems import ProblemError, responses

router = APIRouter(prefix="/servers", tags=["servers"])
_COMMON = (problems.UNAUTHENTICATED, problems.FORBIDDEN, problems.INVALID_REQUEST, problems.WRONG_HOST)
_ONE = (*_COMMON, problems.UNKNOWN_SERVER, problems.AMBIGUOUS_SERVER)


@router.get("", operation_id="listServers", responses=responses(*_COMMON))
async def list_servers(asked: Asked) -> ServerList:
    """All servers of the configuration, in its order."""
    found = [shown(asked, server) for server in asked.state.config.servers]
    return ServerList(servers=found, total=len(found))


@router.get(
    "/{server_id:path}/logs",
    operation_id="serverLogs",
    responses=responses(*_ONE, problems.NO_PROCESS),
)
async def logs(asked: Asked, server_id: str, lines: Annotated[int, Query(ge=1, le=1000)] = 100) -> Logs:
    """The newest lines that a stdio server wrote to standard error, for operators. They are those of this worker's process."""
    asked.needs_operator()
    server = asked.server(server_id)
    backend = asked.state.backends.get(server.id)
    if backend is None or backend.host is None:
        why = "an operator has stopped it" if backend is None else "it is reached at a URL"
        raise ProblemError(problems.NO_PROCESS, f"the server has no process here: {why}", server_id=server.id)
    found = [LogLine(time=datetime.fromtimestamp(line.at, UTC), text=line.text) for line in backend.host.logs(lines)]
    return Logs(server_id=server.id, lines=found)


@router.get("/{server_id:path}", operation_id="getServer", responses=responses(*_ONE))
async def get_server(asked: Asked, server_id: str) -> Server:
    """One server."""
    return shown(asked, asked.server(server_id))


@router.post(
    "/{server_id:path}/{action}",
    operation_id="operateServer",
    responses=responses(*_ONE, problems.NEEDS_REDIS, problems.STORE_DOWN),
)
async def operate(asked: Asked, server_id: str, action: Literal["start", "stop", "restart"]) -> Server:
    """For operators: `stop` lets calls in flight end, then connections and processes, and takes the tools from the lists;
    `start` brings them back; `restart` ends processes at once, lifts a crash loop, and connects anew."""
    asked.needs_operator()
    server = asked.server(server_id)
    await _act(asked, action, server)
    return shown(asked, server)


async def _act(asked: Asking, action: Action, server: config.Server) -> None:
    try:
        await asked.proxy.services.lifecycle.act(action, server.id)
    except NotShared as error:
        raise ProblemError(problems.NEEDS_REDIS, str(error)) from None


def state_of(asked: Asking, server: config.Server, backend: Backend | None) -> ServerState:
    if backend is None:
        if server.id in asked.state.personal:
            return "running"  # of each user's own instance the user's calls tell
        return "stopped" if server.id in asked.proxy.services.lifecycle.stopped else "pending"
    if backend.status.error is not None:
        return "error"
    return "running" if backend.status.ever_ready else "pending"


def shown(asked: Asking, server: config.Server) -> Server:
    backend = asked.state.backends.get(server.id)
    namespace, _, name = server.id.partition("/")
    error = backend.status.error if backend is not None else None
    return Server(
        server_id=server.id,
        name=name,
        namespace=namespace,
        transport="stdio" if server.stdio is not None else "http",
        state=state_of(asked, server, backend),
        per_user=server.of_users,
        category=server.category,
        tools=len(backend.catalogue.tools) if backend is not None else 0,
        version=backend.status.server_version if backend is not None else None,
        circuit=backend.gate.report().circuit if backend is not None else "closed",
        error=error.message if error is not None else None,
        error_class=error.error_class if error is not None else None,
        process=_process(backend),
    )


def _process(backend: Backend | None) -> Process | None:
    if backend is None or backend.host is None:
        return None
    report = backend.host.report()
    return Process(
        state=report.state,
        pid=report.pid,
        restarts=report.restarts,
        uptime_seconds=report.uptime_seconds,
        exit_code=report.exit_code,
    )
