"""What FastMCP answers on one route: lists from the route table, calls from the backend that the table names.

The handlers stand at FastMCP's wire seam, beneath its component layer: results go through as the backend sent them
(structured content, errors, `_meta`, images), and an unknown name is the JSON-RPC error that the specification wants.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fastmcp import FastMCP
from mcp.client._input_required import run_input_required_driver
from mcp.client.session import ClientRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    CallToolRequestParams,
    CompleteRequestParams,
    EmptyResult,
    ErrorData,
    GetPromptRequestParams,
    InputRequest,
    InputRequiredResult,
    InputResponse,
    InputResponses,
    NotificationParams,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    SetLevelRequestParams,
)
from mcp_types.methods import is_input_required
from pydantic import BaseModel

from mcp_operator_proxy.auth import PRINCIPAL, Principal
from mcp_operator_proxy.backends.ask import ask, wire_error
from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.backends.relay import Capabilities, FrontContext
from mcp_operator_proxy.backends.session import BackendSession, Call
from mcp_operator_proxy.eras import translate, uris
from mcp_operator_proxy.fastlane.sink import FIRST_RESULT
from mcp_operator_proxy.front import FrontSession
from mcp_operator_proxy.table import Entry, Kind, RouteTable

logger = logging.getLogger(__name__)


class RouteState(Protocol):
    """The route as it is at this moment. Read once per request; a swap replaces what it returns."""

    def table(self) -> RouteTable: ...

    def backend(self, server: str) -> Backend | None: ...

    def refusal(self, principal: Principal | None, kind: Kind, name: str) -> str | None:
        """Why the caller may not use what the route shows as `name`."""
        ...


class RouteProvider:
    """The request handlers of one route, installed on one FastMCP server."""

    def __init__(self, mcp: FastMCP[Any], route: RouteState) -> None:
        self._route = route
        server = mcp._mcp_server  # noqa: SLF001
        # The modern era's header check asks for one schema; unset, the server would list all tools for every call.
        server.get_tool_input_schema = lambda name: route.table().schema_of(name)
        handlers: dict[str, tuple[type[BaseModel], Callable[..., Any]]] = {
            "tools/list": (PaginatedRequestParams, self._list("tools/list", lambda t: t.tools, "tools")),
            "prompts/list": (PaginatedRequestParams, self._list("prompts/list", lambda t: t.prompts, "prompts")),
            "resources/list": (
                PaginatedRequestParams,
                self._list("resources/list", lambda t: t.resources, "resources"),
            ),
            "resources/templates/list": (
                PaginatedRequestParams,
                self._list("resources/templates/list", lambda t: t.resource_templates, "resourceTemplates"),
            ),
            "tools/call": (CallToolRequestParams, self._call_tool),
            "prompts/get": (GetPromptRequestParams, self._get_prompt),
            "resources/read": (ReadResourceRequestParams, self._read_resource),
            "completion/complete": (CompleteRequestParams, self._complete),
            "logging/setLevel": (SetLevelRequestParams, self._set_level),
        }
        for method, (params, handler) in handlers.items():
            server.add_request_handler(method, params, handler)
        server.add_notification_handler("notifications/roots/list_changed", NotificationParams, self._roots_changed)

    def _list(self, method: str, pick: Callable[[RouteTable], Mapping[str, Entry]], key: str) -> Callable[..., Any]:
        async def handler(ctx: FrontContext, params: PaginatedRequestParams) -> dict[str, Any]:
            if params.cursor is not None:
                raise MCPError(INVALID_PARAMS, "unknown cursor: all entries are on one page")
            shown = [entry.definition for entry in pick(self._route.table()).values()]
            return _shown(ctx, method, {key: shown})

        return handler

    async def _call_tool(self, ctx: FrontContext, params: CallToolRequestParams) -> dict[str, Any]:
        entry = self._route.table().tools.get(params.name)
        if entry is None:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {params.name}")
        self._permit(ctx, "tool", params.name)
        own = {"name": entry.name}
        return await self._ask(ctx, entry.server, "tools/call", own, repeatable=entry.idempotent, seconds=entry.timeout)

    async def _get_prompt(self, ctx: FrontContext, params: GetPromptRequestParams) -> dict[str, Any]:
        entry = self._route.table().prompts.get(params.name)
        if entry is None:
            raise MCPError(INVALID_PARAMS, f"Unknown prompt: {params.name}")
        self._permit(ctx, "prompt", params.name)
        return await self._ask(ctx, entry.server, "prompts/get", {"name": entry.name}, repeatable=True)

    async def _read_resource(self, ctx: FrontContext, params: ReadResourceRequestParams) -> dict[str, Any]:
        table, uri = self._route.table(), str(params.uri)
        found = table.resource(uri)
        if found is None:
            raise MCPError(INVALID_PARAMS, f"Resource not found: {uri}", {"uri": uri})
        self._permit(ctx, "resource", uri)
        server, own = found
        return await self._ask(ctx, server, "resources/read", {"uri": own}, repeatable=True)

    async def _complete(self, ctx: FrontContext, params: CompleteRequestParams) -> dict[str, Any]:
        table, ref = self._route.table(), params.ref
        name = getattr(ref, "name", None) or getattr(ref, "uri", "")
        entry = (table.prompts if ref.type == "ref/prompt" else table.resource_templates).get(str(name))
        if entry is None:
            raise MCPError(INVALID_PARAMS, f"Unknown reference: {name}")
        backend = self._backend(entry.server)
        if not backend.catalogue.completions:
            return _shown(ctx, "completion/complete", {"completion": {"values": []}})
        own = {"type": ref.type, ("name" if ref.type == "ref/prompt" else "uri"): entry.name}
        return await self._ask(ctx, entry.server, "completion/complete", {"ref": own}, repeatable=True)

    async def _set_level(self, ctx: FrontContext, params: SetLevelRequestParams) -> EmptyResult:
        await FrontSession.of(_connection(ctx)).set_log_level(params.level)
        return EmptyResult()

    async def _roots_changed(self, ctx: FrontContext, _: NotificationParams) -> None:
        await FrontSession.of(_connection(ctx)).roots_changed()

    # One request to one backend

    def _permit(self, ctx: FrontContext, kind: Kind, name: str) -> None:
        if (reason := self._route.refusal(principal_of(ctx), kind, name)) is not None:
            raise MCPError(INVALID_REQUEST, reason)

    def _backend(self, server: str) -> Backend:
        backend = self._route.backend(server)
        if backend is None:
            raise MCPError(INTERNAL_ERROR, f"server {server} has just been removed; list again")
        return backend

    async def _ask(
        self,
        ctx: FrontContext,
        server: str,
        method: str,
        own: dict[str, Any],
        *,
        repeatable: bool,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """Send the client's request on, with `own` in place of the exposed names, and return the result.

        See `backends.ask` for when it is sent a second time.
        """
        backend = self._backend(server)
        expose = self._route.table().exposer(server)
        params = {**(ctx.params or {}), **own}
        timeout = backend.call_timeout if seconds is None else seconds
        try:
            result = await ask(
                backend,
                lambda: self._once(ctx, backend, method, params, timeout),
                repeatable=repeatable,
                seconds=timeout,
            )
        except BackendError as error:
            raise wire_error(backend.id, error) from error
        return _shown(ctx, method, result, expose)

    async def _once(
        self, ctx: FrontContext, backend: Backend, method: str, params: dict[str, Any], seconds: float
    ) -> dict[str, Any]:
        call = Call(ctx, seconds)
        if _meta(ctx).get("progressToken") is not None:
            call.on_progress = _progress_to(ctx, call)
        first = _first_result(ctx)
        if translate.is_modern(ctx.protocol_version):
            if first is not None:
                return first
            key = Capabilities.of(ctx.session.client_capabilities, principal_of(ctx))
            async with backend.pool.lease(key) as session:
                return await session.request(
                    method, translate.request_for(params, modern=session.connected.modern), call
                )
        front = FrontSession.of(_connection(ctx))
        if (principal := principal_of(ctx)) is not None:
            front.principal = principal.name
        what = method, str(params.get("name") or params.get("uri"))
        session = await front.session(backend, asks_in_results=what in backend.asks_in_results)
        sent = translate.request_for(params, modern=session.connected.modern, log_level=front.log_level or "debug")
        try:
            result = await session.request(method, sent, call) if first is None else first
        except MCPError as error:
            if session.connected.modern or not backend.modern or not _asks_in_result(error):
                raise
            # It gave up before it did anything but ask: what asks in results is run anew for each answer anyway.
            backend.asks_in_results.add(what)
            session = await front.session(backend, asks_in_results=True)
            sent = translate.request_for(params, modern=session.connected.modern, log_level=front.log_level or "debug")
            result = await session.request(method, sent, call)
        if is_input_required(result):
            return await _drive(session, method, sent, call, InputRequiredResult.model_validate(result))
        return result


def _asks_in_result(error: MCPError) -> bool:
    """Whether a server of both eras says that it can ask only in a result, which the handshake eras don't know.

    FastMCP names the type; the protocol has no code for this.
    """
    return error.code == INVALID_PARAMS and "InputRequiredResult" in error.message


def principal_of(ctx: FrontContext) -> Principal | None:
    """The authenticated caller of a request, None where everybody may call."""
    found = ctx.request.scope.get(PRINCIPAL) if ctx.request is not None else None
    return found if isinstance(found, Principal) else None


def _first_result(ctx: FrontContext) -> dict[str, Any] | None:
    """What the fast lane was answered when it sent this request; it is used up by the first look."""
    found = ctx.request.scope.pop(FIRST_RESULT, None) if ctx.request is not None else None
    return found if isinstance(found, dict) else None


def _connection(ctx: FrontContext) -> Any:
    return ctx.session._connection  # noqa: SLF001 - the stable object behind the per-request session


def _meta(ctx: FrontContext) -> Mapping[str, Any]:
    """The request's `_meta` as the client wrote it."""
    meta = (ctx.params or {}).get("_meta")
    return meta if isinstance(meta, Mapping) else {}


def _progress_to(ctx: FrontContext, call: Call) -> Callable[..., Any]:
    async def progress(progress: float, total: float | None, message: str | None) -> None:
        call.deadline.renew()
        await ctx.session.report_progress(progress, total, message)

    return progress


def _shown(ctx: FrontContext, method: str, result: dict[str, Any], expose: uris.Expose | None = None) -> dict[str, Any]:
    return show(method, result, modern=translate.is_modern(ctx.protocol_version), expose=expose)


def show(method: str, result: dict[str, Any], *, modern: bool, expose: uris.Expose | None) -> dict[str, Any]:
    """A result of a backend as a client's era and route show it."""
    if is_input_required(result):
        return translate.without_connection_meta(uris.rewrite_questions(result, expose))
    result = uris.rewrite(method, result, expose)
    if modern:
        return translate.result_for_modern(method, result)
    return translate.result_for_legacy(method, result)


async def _drive(
    session: BackendSession, method: str, sent: dict[str, Any], call: Call, first: InputRequiredResult
) -> dict[str, Any]:
    """A modern backend asks in its result, a legacy client is asked over its session: answer and send again (SEP-2322)."""
    client = session.connected.session

    async def dispatch(key: str, request: InputRequest) -> InputResponse | ErrorData:
        return await client.dispatch_input_request(ClientRequestContext(session=client, request_id=key), request)

    async def retry(responses: InputResponses | None, state: str | None) -> dict[str, Any] | InputRequiredResult:
        again = dict(sent)
        if responses is not None:
            again["inputResponses"] = {
                key: response.model_dump(by_alias=True, mode="json", exclude_none=True)
                for key, response in responses.items()
            }
        if state is not None:
            again["requestState"] = state
        result = await session.request(method, again, Call(call.front, call.deadline.seconds, call.on_progress))
        return InputRequiredResult.model_validate(result) if is_input_required(result) else result

    return await run_input_required_driver(first, dispatch=dispatch, retry=retry)
