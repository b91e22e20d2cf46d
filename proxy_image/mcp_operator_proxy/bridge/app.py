"""The bridge's HTTP surface: the MCP endpoint, and beside it health, status, metrics, and for who has the key the logs."""

import time
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_operator_proxy import __version__
from mcp_operator_proxy.bridge.endpoint import McpEndpoint
from mcp_operator_proxy.bridge.hub import Hub
from mcp_operator_proxy.bridge.logs import PATH as LOGS
from mcp_operator_proxy.bridge.logs import LogsEndpoint


def create_app(hub: Hub) -> ASGIApp:
    """`/healthz`: the bridge lives. `/readyz`: the server answers. `/status`, `/metrics`: for people and machines.

    `/logs`: for proxies that have the key; without a key there is no such path.
    """
    endpoint = McpEndpoint(hub)

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok", "server": hub.health().to_json()})

    async def readyz(_request: Request) -> Response:
        health = hub.health()
        return JSONResponse(health.to_json(), 200 if health.ready else 503)

    async def status(_request: Request) -> Response:
        return JSONResponse(_status(hub))

    async def metrics(_request: Request) -> Response:
        hub.metrics.up.set(hub.health().ready)
        return Response(generate_latest(hub.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    others = Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/status", status),
            Route("/metrics", metrics),
            *([Route(LOGS, LogsEndpoint(hub), methods=["GET"])] if hub.settings.logs_key is not None else []),
        ]
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """Calls do not go through the layers of the framework, for speed."""
        at_endpoint = scope["type"] == "http" and scope["path"] == hub.settings.path
        sending = _closing(hub, send) if scope["type"] == "http" else send
        await (endpoint if at_endpoint else others)(scope, receive, sending)

    return app


def _closing(hub: Hub, send: Send) -> Send:
    """`send`, that ends the connection with an answer which begins while the bridge retires (RFC 9112, 9.6)."""

    async def sending(event: Message) -> None:
        if hub.retiring and event["type"] == "http.response.start":
            event["headers"] = [*event.get("headers", ()), (b"connection", b"close")]
        await send(event)

    return sending


def _status(hub: Hub) -> dict[str, Any]:
    return {
        "version": __version__,
        "name": hub.settings.name,
        "isolation": hub.settings.isolation,
        "uptimeSeconds": round(time.time() - hub.started_at, 3),
        "draining": hub.draining,
        "sessions": len(hub.sessions),
        "maxSessions": hub.settings.max_sessions,
        "server": hub.health().to_json(),
    }
