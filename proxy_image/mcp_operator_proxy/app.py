"""The ASGI application: MCP endpoints by path, and `/healthz`, `/readyz`, `/status`, `/metrics`."""

import asyncio
import contextlib
import hashlib
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from mcp.server.streamable_http import check_accept_headers
from mcp_types import INTERNAL_ERROR, INVALID_REQUEST
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_operator_proxy import __version__, executions
from mcp_operator_proxy.access import Line
from mcp_operator_proxy.auth import PRINCIPAL, Principal
from mcp_operator_proxy.authn.http import Refusal, caller, metadata, metadata_path
from mcp_operator_proxy.authn.lasting import lasting
from mcp_operator_proxy.authn.metadata import WELL_KNOWN
from mcp_operator_proxy.bodies import read_body, replaying
from mcp_operator_proxy.config import RESERVED_PATHS, RequestLimits, within
from mcp_operator_proxy.cors import preflight, sharing
from mcp_operator_proxy.depth import deeper
from mcp_operator_proxy.endpoint import Endpoint
from mcp_operator_proxy.fastlane.asgi import try_lane
from mcp_operator_proxy.fastlane.sink import TRIED
from mcp_operator_proxy.fronts.sse import locate
from mcp_operator_proxy.guard import refusal
from mcp_operator_proxy.metrics import CONTENT_TYPE
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.report import StatusReport
from mcp_operator_proxy.services.rest.service import refused as refused_by_rest
from mcp_operator_proxy.tracing import http as traces
from mcp_operator_proxy.workers.pod import Pod

logger = logging.getLogger(__name__)
MAX_WAIT_SECONDS: Final = 30.0
RETRY_AFTER: Final = {"retry-after": "1"}
ROUTE: Final = "mcp_operator_proxy.route"
LOGGED: Final = "mcp_operator_proxy.logged"
_RESTLESS: Final = {"checked_at", "circuit", "process"}
"""Of a server's report: what changes although nothing has happened that whoever asks again and again wants to hear of."""


class App:
    """Serves `proxy`, which somebody else starts and closes."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self._own: dict[str, Callable[[QueryParams], Awaitable[Response]]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/status": self._status,
            "/metrics": self._metrics,
        }
        self.of_this_worker = {
            "/status": partial(self._status, alone=True),
            "/metrics": partial(self._metrics, alone=True),
        }
        """Answers for this process alone, by path; given to its siblings."""
        forwarder = proxy.holder.forwarder
        siblings = forwarder.peers.siblings if forwarder is not None else None
        self._pod = Pod(proxy, siblings) if siblings else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:  # a websocket
            await send({"type": "websocket.close", "code": 1003})

    async def close(self) -> None:
        if self._pod is not None:
            await self._pod.close()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/") or "/"
        if path in RESERVED_PATHS:
            response = await self._answer_own(path, scope)
            await response(scope, receive, send)
            return
        with self._logged(scope) as started:

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    started(message["status"])
                await send(message)

            await self._guarded(path, scope, receive, told)

    async def _guarded(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse strange hosts and origins; let pages of the others read what is answered."""
        headers = Headers(scope=scope)
        state, inspector = self.proxy.state, self.proxy.services.inspector
        if inspector.serves(path):
            send = inspector.secured(path, send)
        well_known = within(path, WELL_KNOWN)
        refused = refusal(
            state.config if state else None,
            scheme=scope.get("scheme", "http"),
            host=headers.get("host", ""),
            origin=None if well_known else headers.get("origin"),  # what all may know, all pages may
        )
        if refused is not None:
            await self._refused(path, *refused)(scope, receive, send)
            return
        if well_known:
            await self._metadata(scope)(scope, receive, send)
            return
        if (origin := headers.get("origin")) is not None:
            send = sharing(origin, send)
            if (asked := preflight(scope["method"], headers)) is not None:  # it never carries a key
                await asked(scope, receive, send)
                return
        if inspector.serves(path):
            await inspector(path, scope, receive, send)
            return
        if path.startswith("/oauth/") and (page := await self.proxy.services.credentials.page(path, scope)) is not None:
            await page(scope, receive, send)
            return
        await self._mcp(path, scope, receive, send)

    def _refused(self, path: str, status: int, reason: str, headers: Mapping[str, str] | None = None) -> Response:
        own = dict(headers or {})
        if self.proxy.services.rest.serves(path) or self.proxy.services.inspector.answers(path):
            return refused_by_rest(status, reason, own)
        return _rpc_error(status, INVALID_REQUEST, reason, own)

    async def _mcp(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        headers, rest = Headers(scope=scope), self.proxy.services.rest
        principal = await caller(scope, self.proxy.state)
        if rest.serves(path) and (not isinstance(principal, Refusal) or rest.is_open(path)):
            await rest(path, scope, receive, send)
            return
        if isinstance(principal, Refusal):
            await self._refused(path, principal.status, principal.message, principal.headers)(scope, receive, send)
            return
        endpoint: ASGIApp | None = self.proxy.endpoints.get(path)
        problem = None
        if endpoint is not None:
            problem = _problem(scope["method"], scope, receive, headers)
        elif (legacy := locate(path, self.proxy.endpoints)) is not None:
            path, part = legacy
            front = self.proxy.endpoints[path].sse
            endpoint = front.stream if part == "sse" else front.message
        else:
            await self._no_endpoint(path, scope["method"])(scope, receive, send)
            return
        scope[ROUTE] = path
        if problem is not None:
            self.proxy.metrics.refused(path)
            await problem(scope, receive, send)
            return
        body: bytes | None = None
        if scope["method"] == "POST":
            limits = self.proxy.state.config.limits if self.proxy.state else RequestLimits()
            body = await read_body(receive, limits.max_bytes)
            if body is None or deeper(body, limits.max_depth):
                self.proxy.metrics.refused(path)
                problem = (
                    _rpc_error(413, INVALID_REQUEST, f"the body is larger than {limits.max_bytes} bytes")
                    if body is None
                    else _rpc_error(400, INVALID_REQUEST, f"the body is nested more than {limits.max_depth} deep")
                )
                await problem(scope, receive, send)
                return
            if TRIED not in scope and isinstance(endpoint, Endpoint):
                on = await try_lane(self.proxy.lane, path, body, scope, receive, send)
                if on is None:
                    scope[LOGGED] = True
                    return
                send = on
            receive = replaying(body, receive)
        if (recorder := self.proxy.services.inspector.recorder) is not None:
            send = recorder.watching(scope, path, body, send)
        with self.proxy.metrics.in_flight:
            await self._served(endpoint, principal, scope, receive, self._counting_refusals(path, scope, send))

    async def _served(
        self, endpoint: ASGIApp, principal: Principal | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """By `endpoint`; a stream that lasts ends with the token that opened it."""
        if principal is None or principal.expires is None:
            await endpoint(scope, receive, send)
        else:
            await lasting(endpoint, principal.expires, scope, receive, send)

    def _metadata(self, scope: Scope) -> Response:
        """What the proxy says of itself as a protected resource."""
        auth = self.proxy.state.config.auth if self.proxy.state is not None else None
        path, endpoints = metadata_path(scope, auth), self.proxy.endpoints
        is_path = path == "/" or path in endpoints or locate(path, endpoints) is not None
        return metadata(scope, auth, is_path=is_path)

    def _counting_refusals(self, path: str, scope: Scope, send: Send) -> Send:
        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400 and "mcp_method" not in scope:
                self.proxy.metrics.refused(path)
            await send(message)

        return counting

    @contextlib.contextmanager
    def _logged(self, scope: Scope) -> Iterator[Callable[[int], None]]:
        """Write a line of the access log at the end of the block, with the status that its value was called with."""
        access, state = self.proxy.access, self.proxy.state
        line = Line(time.time(), http=scope["method"], status=499)  # as long as nothing is sent

        def started(status: int) -> None:
            line.status = status

        begun, tracer = time.perf_counter(), self.proxy.services.tracing.tracer
        entered = traces.Entered(tracer, scope) if self.proxy.services.rest.serves(scope["path"].rstrip("/")) else None
        try:
            yield started
        finally:
            if (execution := scope.get(executions.SCOPE)) is not None:
                self.proxy.metrics.added("full", execution.added(time.perf_counter() - begun))
            if entered is not None:
                entered.leave(line.status, getattr(scope.get("route"), "path", None))
            elif tracer is not None and _refused_unread(scope, line.status):
                traces.refused(tracer, scope, line.status, time.perf_counter() - begun, scope.get(ROUTE))
            if _refused_unread(scope, line.status):
                self.proxy.services.audit.add_refusal(scope, line.status, time.perf_counter() - begun)
            if access is not None and (state is None or state.config.access_log) and not scope.get(LOGGED):
                client, principal = scope.get("client"), scope.get(PRINCIPAL)
                line.route = scope.get(ROUTE)
                line.client = client[0] if client else None
                line.seconds = time.perf_counter() - begun
                line.method, line.name = scope.get("mcp_method"), scope.get("mcp_name")
                line.outcome = scope.get("mcp_outcome")
                line.principal = principal.name if principal else None
                line.trace = next((v.decode("latin-1") for k, v in scope["headers"] if k == b"traceparent"), None)
                access.add(line)

    def _no_endpoint(self, path: str, method: str) -> Response:
        if self.proxy.state is None:
            return _rpc_error(503, INTERNAL_ERROR, self.proxy.why_not_ready() or "", RETRY_AFTER)
        paths = sorted(self.proxy.endpoints)
        if path == "/" and method in ("GET", "HEAD"):
            return JSONResponse(
                {
                    "name": "mcp-operator-proxy",
                    "version": __version__,
                    "mcp": paths,
                    "endpoints": sorted(RESERVED_PATHS),
                }
            )
        return JSONResponse({"error": f"no MCP endpoint at {path}", "mcp": paths}, 404)

    # The proxy's own paths

    async def _answer_own(self, path: str, scope: Scope) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            return JSONResponse({"error": "only GET"}, 405, {"allow": "GET, HEAD"})
        response = await self._own[path](QueryParams(scope["query_string"]))
        tag = response.headers.get("etag")
        if tag is not None and Headers(scope=scope).get("if-none-match") == tag:
            return Response(status_code=304, headers={"etag": tag})
        return response

    async def _healthz(self, _: QueryParams) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, _: QueryParams) -> Response:
        problem = self.proxy.why_not_ready()
        return PlainTextResponse("ok\n") if problem is None else PlainTextResponse(f"{problem}\n", 503)

    async def _status(self, query: QueryParams, *, alone: bool = False) -> Response:
        revision = query.get("wait")
        raw = query.get("timeout", str(MAX_WAIT_SECONDS))
        try:
            seconds = float(raw)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= MAX_WAIT_SECONDS:
            return JSONResponse({"error": f"timeout must be a number of seconds from 0 to {MAX_WAIT_SECONDS:g}"}, 400)
        if revision is not None and re.fullmatch(r"[0-9a-z]{1,64}", revision) is None:
            return JSONResponse({"error": "wait must be a revision: lower-case letters and digits"}, 400)
        if self._pod is not None and not alone:
            status = await self._pod.status(revision, seconds)
        else:
            status = (
                await self.proxy.wait_for(revision, seconds)
                if revision is not None
                else await asyncio.to_thread(self.proxy.status)
            )
        body, tag = await asyncio.to_thread(_rendered, status)
        return Response(body, media_type="application/json", headers={"etag": tag})

    async def _metrics(self, _: QueryParams, *, alone: bool = False) -> Response:
        # In a thread, as is the status: with a thousand servers it takes longer than a call may be held up.
        self.proxy.lane.settle()
        if self._pod is None or alone:
            return Response(await asyncio.to_thread(self.proxy.told_metrics), media_type=CONTENT_TYPE)
        text = await self._pod.metrics()
        return Response(text, media_type=CONTENT_TYPE)


def _refused_unread(scope: Scope, status: int) -> bool:
    """Whether a request was refused before it became one of MCP."""
    return status >= 400 and status != traces.CLOSED and "mcp_method" not in scope


def _rendered(status: StatusReport) -> tuple[str, str]:
    """The status as JSON, and an entity tag (RFC 9110, section 8.8.3) that names it but for what changes by itself."""
    steady = status.model_dump_json(exclude={"sessions": True, "servers": {"__all__": _RESTLESS}})
    return status.model_dump_json(by_alias=True), f'W/"{hashlib.sha256(steady.encode()).hexdigest()[:32]}"'


def _problem(method: str, scope: Scope, receive: Receive, headers: Headers) -> Response | None:
    """What is wrong with a request before its body is read."""
    if method not in ("GET", "POST", "DELETE"):
        return _rpc_error(405, INVALID_REQUEST, f"method {method} is not used by MCP", {"allow": "GET, POST, DELETE"})
    if method != "POST":
        return None
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return _rpc_error(415, INVALID_REQUEST, "the Content-Type must be application/json")
    _spell_out(scope)
    accepts_json, accepts_stream = check_accept_headers(Request(scope, receive))
    if not (accepts_json and accepts_stream):
        return _rpc_error(406, INVALID_REQUEST, "the client must accept both application/json and text/event-stream")
    return None


def _spell_out(scope: Scope) -> None:
    """Media types have no case (RFC 9110, 8.3.1), which the SDK does not know."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if not any(name == b"content-type" and value.startswith(b"application/json") for name, value in headers):
        scope["headers"] = [(n, b"application/json" if n == b"content-type" else v) for n, v in headers]


def _rpc_error(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """A JSON-RPC error for a request whose id is not known."""
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
    return Response(json.dumps(body), status, headers, "application/json")


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
