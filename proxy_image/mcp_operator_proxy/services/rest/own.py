"""What this worker alone says of its servers and itself; `together` makes one answer of it and those of its siblings."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from mcp_operator_proxy import __version__, config
from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.bridge import stderr as bridge
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.services.rest.models import (
    Health,
    HealthStatus,
    LogLine,
    Logs,
    Process,
    Server,
    ServerHealth,
    ServerList,
    ServerState,
)


def servers(proxy: Proxy, only: str | None = None) -> ServerList:
    """In the order of the configuration; `only` is the id of one."""
    known = proxy.state.config.servers if proxy.state is not None else ()
    found = [shown(proxy, server) for server in known if only is None or server.id == only]
    return ServerList(servers=found, total=len(found))


def logs(proxy: Proxy, server_id: str, lines: int) -> Logs | None:
    """The newest lines of the server's process, None where it has none here."""
    backend = _backend(proxy, server_id)
    if backend is None or backend.host is None:
        return None
    number = proxy.holder.number
    found = [
        LogLine(time=datetime.fromtimestamp(line.at, UTC), worker=number, text=line.text)
        for line in backend.host.logs(lines)
    ]
    return Logs(server_id=server_id, lines=found)


def of_bridge(server_id: str, lines: Iterable[bridge.LogLine]) -> Logs:
    """Lines that no worker's process wrote."""
    found = [LogLine(time=datetime.fromtimestamp(line.at, UTC), worker=None, text=line.text) for line in lines]
    return Logs(server_id=server_id, lines=found)


async def health(proxy: Proxy) -> Health:
    stores = await proxy.services.stores.health()
    known = proxy.state.config.servers if proxy.state is not None else ()
    found = [_health(proxy, server) for server in known]
    status, reason = verdict(proxy.why_not_ready(), found, dict(stores.items()))
    return Health(
        status=status,
        version=__version__,
        uptime_seconds=round((datetime.now(UTC) - proxy.started_at).total_seconds(), 3),
        reason=reason,
        servers=found,
        redis=stores["redis"],
        database=stores["database"],
    )


def verdict(
    not_ready: str | None, servers: Sequence[ServerHealth], stores: Mapping[str, str]
) -> tuple[HealthStatus, str | None]:
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


def _health(proxy: Proxy, server: config.Server) -> ServerHealth:
    backend = _backend(proxy, server.id)
    error = backend.status.error if backend is not None else None
    return ServerHealth(
        server_id=server.id, state=state_of(proxy, server, backend), error=error.message if error is not None else None
    )


def state_of(proxy: Proxy, server: config.Server, backend: Backend | None) -> ServerState:
    if backend is None:
        if proxy.state is not None and server.id in proxy.state.personal:
            return "running"  # of each user's own instance the user's calls tell
        return "stopped" if server.id in proxy.services.lifecycle.stopped else "pending"
    if backend.status.error is not None:
        return "error"
    return "running" if backend.status.ever_ready else "pending"


def shown(proxy: Proxy, server: config.Server) -> Server:
    backend = _backend(proxy, server.id)
    namespace, _, name = server.id.partition("/")
    error = backend.status.error if backend is not None else None
    process = _process(proxy, backend)
    return Server(
        server_id=server.id,
        name=name,
        namespace=namespace,
        transport="stdio" if server.stdio is not None else "http",
        state=state_of(proxy, server, backend),
        per_user=server.apart,
        category=server.category,
        tools=len(backend.catalogue.tools) if backend is not None else 0,
        version=backend.status.server_version if backend is not None else None,
        circuit=backend.gate.report().circuit if backend is not None else "closed",
        error=error.message if error is not None else None,
        error_class=error.error_class if error is not None else None,
        process=process,
        processes=[process] if process is not None else [],
    )


def _process(proxy: Proxy, backend: Backend | None) -> Process | None:
    if backend is None or backend.host is None:
        return None
    report = backend.host.report()
    return Process(
        worker=proxy.holder.number,
        state=report.state,
        pid=report.pid,
        restarts=report.restarts,
        uptime_seconds=report.uptime_seconds,
        exit_code=report.exit_code,
    )


def _backend(proxy: Proxy, server_id: str) -> Backend | None:
    return proxy.state.backends.get(server_id) if proxy.state is not None else None
