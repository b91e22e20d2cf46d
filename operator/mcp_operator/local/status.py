"""The status of every resource, by the same rules as in a cluster; what differs here is who says that it runs. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from mcp_operator.api.common import Condition, StatusModel
from mcp_operator.api.proxy import ProxyStatus
from mcp_operator.api.resources import McpProxy, McpServer
from mcp_operator.api.server import ServerStatus
from mcp_operator.compile import Compiled
from mcp_operator.compile.references import Resolved
from mcp_operator.compile.servers import unsupported
from mcp_operator.conditions.notices import Notice, noted, noted_before
from mcp_operator.conditions.pinning import Pins
from mcp_operator.conditions.proxy import ProxyObservation, proxy_status
from mcp_operator.conditions.reasons import Reason, Type
from mcp_operator.conditions.server import Health, ServerObservation, server_status
from mcp_operator.conditions.verdict import Refusal, Verdict, conditions, no, summed_up
from mcp_operator.desired.restarts import Restarts
from mcp_operator.local.manifests import Diagnostic
from mcp_operator.local.process import Standing
from mcp_operator.probe.replica import ReplicaState
from mcp_operator.reconcile.observed import replica_view, slowest

S = TypeVar("S", bound=StatusModel)
_DECIDED: Final = (Type.ACCEPTED, Type.RESOLVED_REFS, Type.PROGRAMMED, Type.HEALTHY)


def status_of_server(
    server: McpServer,
    resolved: Resolved,
    *,
    programmed: Verdict | None,
    url: str | None,
    health: Health | None,
    restarts: Restarts,
    notices: Iterable[Notice],
    pins: Pins | None = None,
    now: datetime,
) -> ServerStatus:
    """Status of a server. `programmed` is what its process says; None for a remote one."""
    seen = ServerObservation(
        unsupported=unsupported(server),
        notices=noted(notices),
        unresolved=resolved.problems,
        health=health,
        restarts=restarts.count,
        restarted_at=restarts.last,
        pins=pins,
    )
    status = server_status(server, seen, now)
    if programmed is None:
        return status
    status = status.model_copy(update={"url": url or ""})
    return overruled(status, server.status.conditions, [programmed], now)


def status_of_proxy(
    proxy: McpProxy,
    compiled: Compiled,
    *,
    url: str,
    standing: Standing | None,
    states: Mapping[str, ReplicaState],
    health: Health | None,
    notices: Sequence[Notice],
    now: datetime,
) -> ProxyStatus:
    """Status of a proxy: here one process serves, however many replicas are declared."""
    replicas = 1 if proxy.spec.fixed_replicas is None else min(1, proxy.spec.fixed_replicas)
    spec = proxy.spec.model_copy(update={"replicas": replicas, "autoscaling": None})
    seen = ProxyObservation(
        compiled=compiled,
        url=url,
        refused=Refusal(Reason(compiled.held.reason), compiled.held.message) if compiled.held is not None else None,
        replicas=replica_view(states),
        swap_seconds=slowest(states),
        health=health,
        notices=notices,
    )
    status = proxy_status(proxy.model_copy(update={"spec": spec}), seen, now)
    if standing is None or standing.phase != "failing":
        return status
    return overruled(status, proxy.status.conditions, [no(Type.PROGRAMMED, Reason.CRASHING, standing.message)], now)


def refused_in_part(status: S, previous: Iterable[Condition], why: Diagnostic, now: datetime) -> S:
    """The status of a resource whose newest version is refused while the last good one stays in use."""
    message = f"{why.place}: {why.message}; the last good version stays in use"
    return overruled(status, previous, [no(Type.ACCEPTED, Reason.INVALID, message)], now)


def overruled(status: S, previous: Iterable[Condition], verdicts: Iterable[Verdict], now: datetime) -> S:
    """The status with other verdicts in the place of its own, summed up anew."""
    by_type = {verdict.type: verdict for verdict in verdicts}
    own = {condition.type: condition for condition in status.conditions}
    decided = [by_type.get(kind) or _verdict(own[kind]) for kind in _DECIDED if kind in by_type or kind in own]
    pinned = [_verdict(own[kind]) for kind in (Type.DEFINITIONS_PINNED,) if kind in own]
    told = [*summed_up(decided), *pinned, *noted_before(status.conditions)]
    listed = conditions(told, previous, status.observed_generation or 0, now)
    return status.model_copy(update={"conditions": listed})


def _verdict(condition: Condition) -> Verdict:
    return Verdict(Type(condition.type), condition.status, condition.reason, condition.message)


def body(status: StatusModel) -> dict[str, Any]:
    """The status as the API server would hold it."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)
