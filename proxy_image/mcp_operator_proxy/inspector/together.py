"""One answer out of those of several workers, of all replicas: of what they see differently, the worse is told. Pure."""

from collections.abc import Iterable
from typing import Final

from mcp_operator_proxy.inspector.models import (
    ClientSession,
    ClientSessions,
    Definitions,
    Fleet,
    FleetServer,
    Latency,
    ServerDetail,
    ServerFound,
    SwapItem,
    Swaps,
)
from mcp_operator_proxy.swap.history import KEPT

SAME_SECONDS: Final = 60.0
STATES: Final = ("ready", "pending", "error")


def fleet(own: Fleet, others: Iterable[Fleet]) -> Fleet:
    """The servers that `own` has, in its order."""
    seen = [{server.id: server for server in each.servers} for each in others]
    return Fleet(servers=[_server([one, *(each[one.id] for each in seen if one.id in each)]) for one in own.servers])


def detail(own: ServerDetail, others: Iterable[ServerFound]) -> ServerDetail:
    """Conditions, handshake and process are those of the worker where the server is worst."""
    views = [own, *(each.server for each in others if each.server is not None)]
    worst = max(views, key=_severity)
    summed = _server(list(views))
    return worst.model_copy(
        update={
            **{name: getattr(summed, name) for name in FleetServer.model_fields},
            "handshake": worst.handshake or next((v.handshake for v in views if v.handshake is not None), None),
            "client_sessions": [session for view in views for session in view.client_sessions],
            "logs": [line for view in views for line in view.logs],
        }
    )


def sessions(own: ClientSessions, others: Iterable[ClientSessions]) -> list[ClientSession]:
    """All, the newest first."""
    found = [session for each in (own, *others) for session in each.sessions]
    return sorted(found, key=lambda s: s.since.timestamp() if s.since else 0.0, reverse=True)


def _server(views: list[FleetServer] | list[ServerDetail]) -> FleetServer:
    worst = max(views, key=_severity)
    return worst.model_copy(
        update={
            "healthy": all(view.healthy for view in views),
            "latency": _latency([view.latency for view in views]),
            "era": next((view.era for view in views if view.era is not None), None),
            "tools": max(view.tools for view in views),
            "prompts": max(view.prompts for view in views),
            "resources": max(view.resources for view in views),
            **{
                name: sum(getattr(view, name) for view in views) for name in ("calls", "errors", "restarts", "sessions")
            },
        }
    )


def _severity(view: FleetServer) -> tuple[bool, int, bool, int]:
    return view.stopped, STATES.index(view.state), view.circuit != "closed", view.unapproved


def _latency(views: list[Latency]) -> Latency:
    """The slowest worker's percentiles: an average of percentiles says nothing."""
    known = [view for view in views if view.p95 is not None]
    return max(known, key=lambda view: view.p95 or 0.0) if known else Latency()


def swaps(own: Swaps, others: Iterable[Swaps]) -> Swaps:
    """Each once, with the seconds of the slowest worker: they take up a configuration within `SAME_SECONDS` of each other."""
    views = [own, *others]
    if len(views) == 1:
        return own
    kept: list[SwapItem] = []
    for item in sorted((item for each in views for item in each.items), key=lambda item: item.at, reverse=True):
        same = next((n for n, one in enumerate(kept) if _same(one, item)), None)
        if same is None:
            kept.append(item)
        elif (item.seconds or 0.0) > (kept[same].seconds or 0.0):
            kept[same] = kept[same].model_copy(update={"seconds": item.seconds})
    return Swaps(current=own.current, items=kept[:KEPT])


def definitions(own: Definitions, others: Iterable[Definitions]) -> Definitions:
    """Each once, in the order of the workers."""
    found = {(item.server, item.tool, item.digest): item for each in (own, *others) for item in each.items}
    return Definitions(items=list(found.values()))


def _same(one: SwapItem, other: SwapItem) -> bool:
    near = abs((one.at - other.at).total_seconds()) < SAME_SECONDS
    return near and (one.revision, one.outcome, one.message) == (other.revision, other.outcome, other.message)
