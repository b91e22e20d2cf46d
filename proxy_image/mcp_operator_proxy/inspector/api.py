"""`me`, `fleet`, `servers/…`: who looks, and how the servers are."""

from typing import Literal
from urllib.parse import urlencode

from fastapi import APIRouter

from mcp_operator_proxy import __version__
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.inspector import own, together
from mcp_operator_proxy.inspector.asking import Look, Looking
from mcp_operator_proxy.inspector.models import (
    Caller,
    Condition,
    Features,
    Fleet,
    Me,
    ProxyInfo,
    RouteInfo,
    ServerDetail,
    ServerFound,
)
from mcp_operator_proxy.services.rest import problems
from mcp_operator_proxy.services.rest.problems import ProblemError

router = APIRouter()


@router.get("/me")
async def me(look: Look) -> Me:
    """Who asks. The only one that is answered to who shows nothing."""
    config, unknown = look.state.config, look.unknown
    principal = look.principal
    return Me(
        caller=Caller(name=principal.name, issuer=principal.issuer or None) if principal is not None else None,
        required=look.authenticated and not (config.auth is not None and config.auth.anonymous),
        schemes=_schemes(config),
        operator=not unknown and look.is_operator,
        proxy=_proxy(look, unknown=unknown),
        routes=[] if unknown else [RouteInfo(name=route.name, path=route.path) for route in config.routes],
        features=_features(config),
    )


@router.get("/fleet")
async def fleet(look: Look) -> Fleet:
    """The servers that the caller may see."""
    seen = await look.servers()
    found = own.fleet(look.proxy)
    others = await look.proxy.services.siblings.ask_all("/inspector/fleet", Fleet)
    shown = together.fleet(found, others)
    return Fleet(servers=[server for server in shown.servers if server.id in seen])


@router.get("/servers/{namespace}/{name}")
async def server(look: Look, namespace: str, name: str) -> ServerDetail:
    """One of them. Logs are for operators, sessions of others too."""
    server_id = (await look.seen_server(f"{namespace}/{name}")).id
    found = own.detail(look.proxy, server_id).server
    if found is None:
        raise ProblemError(problems.UNKNOWN_SERVER, "there is no server of this name")
    target = f"/inspector/server?{urlencode({'server': server_id})}"
    others = await look.proxy.services.siblings.ask_all(target, ServerFound)
    shown = together.detail(found, others)
    return await _for_operators(look, shown) if look.is_operator else _for_others(look, shown)


async def _for_operators(look: Looking, shown: ServerDetail) -> ServerDetail:
    """With what a server in a pod of its own has written, as its bridge tells."""
    behind = await look.proxy.services.bridges_logs.of(shown.id, own.LOG_LINES)
    if behind is None:
        return shown
    told: dict[str, object] = {"logs": [line.text for line in behind.lines], "logs_hint": behind.elsewhere}
    if behind.process is not None:
        told |= {"process": behind.process, "restarts": behind.process.restarts}
    return shown.model_copy(update=told)


def _for_others(look: Looking, shown: ServerDetail) -> ServerDetail:
    """Without what processes have written, and with the caller's own sessions alone."""
    process = (
        shown.process.model_copy(update={"stderr": (), "last_error": None, "pid": None}) if shown.process else None
    )
    who = look.caller_key
    mine = [session for session in shown.client_sessions if who is not None and session.caller == who]
    told = [_without_words(condition) for condition in shown.conditions]
    return shown.model_copy(update={"logs": [], "process": process, "client_sessions": mine, "conditions": told})


def _without_words(condition: Condition) -> Condition:
    """Without the last words of a process."""
    return condition.model_copy(update={"message": ""}) if condition.type == "ProcessRunning" else condition


def _schemes(config: ProxyConfig) -> list[Literal["apiKey", "bearer"]]:
    if config.auth is None:
        return []
    found: list[Literal["apiKey", "bearer"]] = ["apiKey"] if config.auth.api_keys else []
    return [*found, "bearer"] if config.auth.jwt else found


def _proxy(look: Looking, *, unknown: bool) -> ProxyInfo:
    proxy = look.proxy
    name = look.settings.name or proxy.name
    workers = max(1, len(proxy.holder.workers))
    if unknown:
        return ProxyInfo(name=name, version=__version__, revision=None, started_at=None, workers=None, replicas=None)
    return ProxyInfo(
        name=name,
        version=__version__,
        revision=look.state.config.revision,
        started_at=proxy.started_at,
        workers=workers,
        replicas=1 + len(proxy.services.siblings.replicas) // workers,
    )


def _features(config: ProxyConfig) -> Features:
    inspector = config.inspector
    return Features(
        traffic=inspector is not None and inspector.traffic,
        sessions=True,
        credentials=any(server.credential is not None for server in config.servers),
        pinning=any(server.pinning != "off" for server in config.servers),
        search=config.rest is not None or any(route.find_tools for route in config.routes),
    )
