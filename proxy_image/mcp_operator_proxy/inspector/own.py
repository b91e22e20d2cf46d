"""What this worker alone knows of servers and sessions; `together` makes one answer of it and those of its siblings."""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from mcp_operator_proxy import config
from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.endpoint import Endpoint
from mcp_operator_proxy.front import FrontSession
from mcp_operator_proxy.inspector.conditions import Seen, conditions
from mcp_operator_proxy.inspector.latency import latency
from mcp_operator_proxy.inspector.models import (
    Change,
    ClientSession,
    ClientSessions,
    DefinitionItem,
    Definitions,
    Era,
    Fleet,
    FleetServer,
    Handshake,
    Limits,
    ServerDetail,
    ServerFound,
    ServerRoute,
    SwapItem,
    Swaps,
)
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.report import ServerReport, UnapprovedTool
from mcp_operator_proxy.usage import ServerUsage

LOG_LINES: Final = 200


class _Seen(NamedTuple):
    """By server id."""

    sessions: Mapping[str, int]
    usage: Mapping[str, ServerUsage]


def fleet(proxy: Proxy) -> Fleet:
    """All servers, in the order of the configuration."""
    state = proxy.state
    if state is None:
        return Fleet(servers=[])
    reports, seen = _reports(proxy), _Seen(_sessions_of(proxy), proxy.usage.by_server())
    return Fleet(servers=[_server(proxy, server, reports[server.id], seen) for server in state.config.servers])


def detail(proxy: Proxy, server_id: str) -> ServerFound:
    """One of them."""
    state = proxy.state
    server = next((s for s in state.config.servers if s.id == server_id), None) if state is not None else None
    if state is None or server is None:
        return ServerFound(server=None)
    report, backend = _reports(proxy)[server_id], state.backends.get(server_id)
    shown = _server(proxy, server, report, _Seen(_sessions_of(proxy), proxy.usage.by_server()))
    seen = Seen(
        datetime.now(UTC),
        backend.status.since if backend is not None else None,
        backend.resolved.waits if backend is not None else "",
    )
    return ServerFound(
        server=ServerDetail(
            **{name: getattr(shown, name) for name in FleetServer.model_fields},
            handshake=_handshake(backend),
            conditions=conditions(server, report, seen),
            client_sessions=[
                session
                for session, front in _client_sessions(proxy)
                if front is not None and any(held.id == server_id for held in front.backends)
            ],
            process=backend.host.report() if backend is not None and backend.host is not None else report.process,
            logs=[line.text for line in backend.host.logs(LOG_LINES)] if backend is not None and backend.host else [],
            limits=Limits(
                timeout=server.call_timeout_seconds,
                connect_timeout=server.connect_timeout_seconds,
                concurrency=server.max_concurrency,
                retries=server.retry.attempts - 1,
            ),
            routes=[
                ServerRoute(name=route.name, path=route.path, prefix=entry.prefix)
                for route in state.config.routes
                for entry in route.servers
                if entry.server == server_id
            ],
        )
    )


def sessions(proxy: Proxy) -> ClientSessions:
    """Of clients, that this worker holds."""
    return ClientSessions(sessions=[session for session, _ in _client_sessions(proxy)])


def swaps(proxy: Proxy) -> Swaps:
    """The newest first."""
    items = [
        SwapItem(
            revision=swap.revision,
            at=swap.at,
            seconds=None if swap.seconds is None else round(swap.seconds, 6),
            outcome=swap.outcome,
            message=swap.message,
            changes=[Change(kind=c.kind, name=c.name, change=c.change, fields=list(c.fields)) for c in swap.changes],
            total=swap.total,
        )
        for swap in reversed(proxy.history.swaps)
    ]
    return Swaps(current=proxy.state.config.revision if proxy.state is not None else None, items=items)


def definitions(proxy: Proxy) -> Definitions:
    """Those that are not approved, of servers whose definitions are pinned."""
    found = proxy.unapproved()
    return Definitions(items=[_definition(server, tool) for server, tools in found.items() for tool in tools])


def _definition(server: str, tool: UnapprovedTool) -> DefinitionItem:
    namespace, _, name = server.partition("/")
    approves = f"kubectl annotate mcps {name} -n {namespace} mcp-operator.dev/approve={tool.digest}"
    in_git = f"in Git: spec.approvedDefinitions.tools of McpServer {name}"
    gone = f"nothing has to be done: it is served no more; its record goes with spec.approvedDefinitions of McpServer {name}"
    return DefinitionItem(
        server=server,
        tool=tool.tool,
        kind=tool.kind,
        digest=tool.digest,
        approved=list(tool.approved),
        diff=tool.diff,
        definition=tool.definition,
        how=f"{approves}\n{in_git}" if tool.digest else gone,
    )


def digest(session_id: str) -> str:
    """What stands for a session's id where others may read it."""
    return hashlib.sha256(f"mcp-operator session:{session_id}".encode()).hexdigest()[:16]


def caller_of(principal: Principal | None) -> str | None:
    """As the page shows a caller: `NAME` of a key, `ISSUER/NAME` of a token."""
    return principal.key if principal is not None else None


def _reports(proxy: Proxy) -> Mapping[str, ServerReport]:
    found = {report.id: report for report in proxy.server_reports()}
    known = proxy.state.config.servers if proxy.state is not None else ()
    # A server may be stopped while its credential is on its way: then nobody reports it.
    return {server.id: found.get(server.id) or ServerReport(id=server.id, state="pending") for server in known}


def _server(proxy: Proxy, server: config.Server, report: ServerReport, seen: "_Seen") -> FleetServer:
    backend = proxy.state.backends.get(server.id) if proxy.state is not None else None
    usage = seen.usage.get(server.id) or ServerUsage()
    return FleetServer(
        id=server.id,
        state=report.state,
        phase=report.phase,
        circuit=report.circuit,
        stopped=report.stopped,
        healthy=report.state == "ready" and report.circuit != "open" and not report.stopped,
        latency=latency(usage.recent),
        calls=usage.calls,
        errors=usage.errors,
        restarts=report.process.restarts if report.process is not None else 0,
        era=_era(backend),
        protocol_version=report.protocol_version,
        transport=report.transport,
        kind="stdio" if server.stdio is not None else "remote",
        tools=len(report.tools),
        prompts=report.prompts,
        resources=report.resources + report.resource_templates,
        sessions=seen.sessions.get(server.id, 0),
        unapproved=report.unapproved_total,
        error=report.error,
    )


def _era(backend: Backend | None) -> Era | None:
    if backend is None or backend.era is None:
        return None
    return "handshake" if backend.era == "legacy" else "stateless"


def _handshake(backend: Backend | None) -> Handshake | None:
    status = backend.status if backend is not None else None
    if status is None or status.capabilities is None:
        return None
    return Handshake(
        server_info=_plain(status.server_info) if status.server_info is not None else None,
        capabilities=_plain(status.capabilities),
        instructions=status.instructions,
        protocol_version=status.protocol_version,
    )


def _plain(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = model.model_dump(by_alias=True, mode="json", exclude_none=True)
    return found


# Sessions


def _sessions_of(proxy: Proxy) -> Mapping[str, int]:
    """Open sessions with servers: those of clients, and those that are lent to calls."""
    found: Counter[str] = Counter()
    for endpoint in proxy.endpoints.values():
        found.update(backend.id for front in endpoint.front_sessions() for backend in front.backends)
    for backend in proxy.state.backends.values() if proxy.state is not None else ():
        found[backend.id] += backend.pool.idle + backend.pool.leased
    return found


def _client_sessions(proxy: Proxy) -> Iterator[tuple[ClientSession, FrontSession | None]]:
    for path, endpoint in proxy.endpoints.items():
        yield from _of_http(proxy, path, endpoint)
        yield from _of_channels(proxy, path, endpoint)


def _of_http(proxy: Proxy, path: str, endpoint: Endpoint) -> Iterator[tuple[ClientSession, FrontSession | None]]:
    now = datetime.now(UTC)
    for session in endpoint.sessions.all():
        connection = getattr(session, "connection", None)
        if connection is None:  # it is just being opened
            continue
        idle = 0.0 if session.in_flight else time.monotonic() - session.last_used
        shown = ClientSession(
            id=digest(session.id),
            route=path,
            caller=caller_of(session.principal),
            era="handshake",
            transport="streamable-http",
            client=_client_of(connection),
            protocol_version=connection.protocol_version,
            since=datetime.fromtimestamp(session.ticket.issued, UTC),
            last_activity=now - timedelta(seconds=idle),
            worker=proxy.holder.number,
        )
        yield shown, FrontSession.of(connection)


def _of_channels(proxy: Proxy, path: str, endpoint: Endpoint) -> Iterator[tuple[ClientSession, FrontSession | None]]:
    for channel in endpoint.channels.all():
        yield (
            ClientSession(
                id=digest(channel.id),
                route=path,
                caller=caller_of(channel.principal),
                era="handshake",
                transport="sse",
                client=None,
                protocol_version=None,
                since=None,
                last_activity=None,
                worker=proxy.holder.number,
            ),
            None,
        )


def _client_of(connection: Any) -> str | None:
    info = connection.client_params.client_info if connection.client_params is not None else None
    return f"{info.name} {info.version}".strip()[:200] if info is not None else None
