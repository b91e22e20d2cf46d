"""What FastMCP answers on one route: lists from the route table, calls from the backend that the table names.

The handlers stand at FastMCP's wire seam, beneath its component layer: results go through as the backend sent them
(structured content, errors, `_meta`, images), and an unknown name is the JSON-RPC error that the specification wants.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from fastmcp import FastMCP
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    CallToolRequestParams,
    CompleteRequestParams,
    EmptyResult,
    GetPromptRequestParams,
    NotificationParams,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    SetLevelRequestParams,
)
from mcp_types.methods import is_input_required
from pydantic import BaseModel

from mcp_operator_proxy import executions, findtools
from mcp_operator_proxy.auth import CALLER, Principal
from mcp_operator_proxy.backends.ask import wire_error
from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.catalogue import Catalogue, JsonObject
from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.backends.relay import FrontContext
from mcp_operator_proxy.backends.session import TASK_METHODS
from mcp_operator_proxy.cache import ResultCache
from mcp_operator_proxy.capabilities import declare
from mcp_operator_proxy.eras import translate, uris
from mcp_operator_proxy.eras.exchange import Exchange, principal_of
from mcp_operator_proxy.eras.freshness import Freshness
from mcp_operator_proxy.eras.parked import ParkingLot
from mcp_operator_proxy.eras.signin import asked_to_sign_in, signed_in, stands_in
from mcp_operator_proxy.front import FrontSession
from mcp_operator_proxy.pages import BadCursor, page
from mcp_operator_proxy.refusals import Quarantined, RateLimited, Refused
from mcp_operator_proxy.services.credentials.token import CredentialProblem
from mcp_operator_proxy.services.users.instances import Nobody
from mcp_operator_proxy.services.windows import Limited
from mcp_operator_proxy.stores.keyvalue import StoreUnavailable
from mcp_operator_proxy.table import Entry, Kind, RouteTable
from mcp_operator_proxy.taskrequests import TaskParams, check_task_request, shown_task
from mcp_operator_proxy.tasktokens import Sealed, TaskTokens

logger = logging.getLogger(__name__)


class RouteState(Protocol):
    """The route as it is at this moment. Read once per request; a swap replaces what it returns."""

    def table(self, principal: Principal | None = None) -> RouteTable:
        """What the route shows to a caller."""
        ...

    async def listed(self, principal: Principal | None) -> RouteTable:
        """The same, once the caller's own instances of servers have told what they have, or had their time for it."""
        ...

    def backend(self, server: str, principal: Principal | None = None) -> Backend | None:
        """The caller's instance of a server, where each user has one; None where it has not been made."""
        ...

    async def reach(self, server: str, principal: Principal | None) -> Backend | None:
        """The same, made where there is none. See `services.users.instances` for what it raises."""
        ...

    def catalogues(self, principal: Principal | None) -> list[Catalogue]: ...

    def signs_in(self, name: str) -> str | None:
        """The server whose users find a tool of that name before they have signed in."""
        ...

    async def arrived(self, name: str, principal: Principal | None = None) -> bool:
        """Wait for a server whose tools or prompts are named like this and that has not been listed. False: there is none.

        Raises MCPError: it cannot be; and what `reach` raises.
        """
        ...

    def refusal(self, principal: Principal | None, kind: Kind, name: str, entry: Entry) -> str | None:
        """Why the caller may not use what the route shows as `name`."""
        ...

    async def visible(self, principal: Principal | None, table: RouteTable) -> RouteTable:
        """`table` with nothing in it but what the caller may use."""
        ...

    def task_refusal(self, principal: Principal | None, task: Sealed) -> str | None:
        """Why the caller may not use the tool that began a task."""
        ...

    async def find(self, principal: Principal | None, query: str, limit: int | None) -> list[JsonObject]:
        """Definitions of the tools of the route that fit, the best first, of those that the caller may call."""
        ...

    async def limited(self, principal: Principal | None, entry: Entry) -> Limited | None:
        """Count a call of a tool; the rate limit that has no room for it."""
        ...

    def cache(self) -> ResultCache: ...

    def freshness(self, method: str) -> Freshness:
        """Of a list."""
        ...


class RouteProvider:
    """The request handlers of one route, installed on one FastMCP server."""

    def __init__(self, mcp: FastMCP[Any], route: RouteState, lot: ParkingLot, tokens: TaskTokens) -> None:
        self._route = route
        self._lot = lot
        self._tokens = tokens
        server = mcp._mcp_server  # noqa: SLF001
        declare(server, route)
        # The modern era's header check asks for one schema; unset, the server would list all tools for every call.
        server.get_tool_input_schema = self._schema_of
        handlers: dict[str, tuple[type[BaseModel], Callable[..., Any]]] = {
            "tools/list": (PaginatedRequestParams, self._list("tools/list", lambda t: t.listed_tools, "tools")),
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
            **{method: (TaskParams, self._task_request(method)) for method in TASK_METHODS},
        }
        for method, (params, handler) in handlers.items():
            server.add_request_handler(method, params, handler)
        server.add_notification_handler("notifications/roots/list_changed", NotificationParams, self._roots_changed)

    def _schema_of(self, name: str) -> Mapping[str, Any] | None:
        """None where the caller may not call it: the check of a tool's headers would tell that it is there."""
        table = self._route.table(CALLER.get())
        entry = table.tools.get(name)
        if entry is not None and self._route.refusal(CALLER.get(), "tool", name, entry) is not None:
            return None
        return table.schema_of(name)

    def _list(self, method: str, pick: Callable[[RouteTable], Mapping[str, Entry]], key: str) -> Callable[..., Any]:
        async def handler(ctx: FrontContext, params: PaginatedRequestParams) -> dict[str, Any]:
            principal = principal_of(ctx)
            table = await self._route.visible(principal, await self._route.listed(principal))
            try:
                entries, following = page(pick(table), params.cursor, table.page_size)
            except BadCursor as error:
                raise MCPError(INVALID_PARAMS, str(error)) from error
            result: dict[str, Any] = {key: [entry.definition for entry in entries]}
            if following is not None:
                result["nextCursor"] = following
            if translate.is_modern(ctx.protocol_version):
                result |= self._route.freshness(method).wire()
            return _shown(ctx, method, result)

        return handler

    async def _call_tool(self, ctx: FrontContext, params: CallToolRequestParams) -> dict[str, Any]:
        table = self._route.table(principal_of(ctx))
        if params.name in findtools.PAIR and table.find_tools:
            return await self._find_tool(ctx, params)
        self._refuse_quarantined(ctx, params.name)
        try:
            entry = await self._found(ctx, params.name, lambda table: table.tools)
        except CredentialProblem as problem:
            return asked_to_sign_in(ctx, problem, self._lot, table.path)
        if entry is None:
            if (server := self._route.signs_in(params.name)) is not None:
                return signed_in(server, modern=translate.is_modern(ctx.protocol_version))
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {params.name}")
        executions.called(entry)
        self._permit(ctx, "tool", params.name, entry, f"Unknown tool: {params.name}")
        await self._within_limits(ctx, entry)
        self._refuse_quarantined(ctx, params.name)
        result = await self._ask(
            ctx,
            entry.server,
            "tools/call",
            {"name": entry.name},
            repeatable=entry.idempotent,
            seconds=entry.timeout,
            cache_seconds=entry.cache_seconds,
        )
        if result.get("resultType") == "task" and isinstance(task_id := result.get("taskId"), str):
            return {**result, "taskId": self._tokens.seal(entry.server, task_id, principal_of(ctx), entry.name)}
        return result

    def _refuse_quarantined(self, ctx: FrontContext, name: str) -> None:
        """Whom the policy does not show the tool hears nothing of it."""
        held = self._route.table(principal_of(ctx)).quarantined.get(name)
        if held is not None:
            executions.called(held)
            self._permit(ctx, "tool", name, held, f"Unknown tool: {name}")
            raise Quarantined(quarantined(name, held.server))

    async def _find_tool(self, ctx: FrontContext, params: CallToolRequestParams) -> dict[str, Any]:
        """Answer `find_tool`, or a `call_tool` that means no call."""
        try:
            if params.name == findtools.CALL:
                findtools.meant(ctx.params or {})
            wanted = findtools.wanted(params.arguments)
        except findtools.BadArguments as error:
            return _shown(ctx, "tools/call", findtools.refused(error))
        definitions = await self._route.find(principal_of(ctx), wanted.query, wanted.limit)
        return _shown(ctx, "tools/call", findtools.found(definitions))

    def _task_request(self, method: str) -> Callable[..., Any]:
        """SEP-2663: the task's id says which server has it, and whether it is the caller's."""

        async def handler(ctx: FrontContext, params: TaskParams) -> dict[str, Any]:
            principal = principal_of(ctx)
            check_task_request(ctx, params, self._route.catalogues(principal))
            found = self._tokens.open(params.task_id, principal)
            if found is None or found[0] not in self._route.table(principal).servers:
                raise MCPError(INVALID_PARAMS, "Unknown task")
            if (reason := self._route.task_refusal(principal, found)) is not None:
                raise Refused("Unknown task", reason)
            if self._route.backend(found[0], principal) is None:
                await self._route.listed(principal)  # the caller's instance may have idled away
                if self._route.backend(found[0], principal) is None:
                    raise MCPError(INVALID_PARAMS, "Unknown task")
            server, own, _ = found
            result = await self._ask(ctx, server, method, {"taskId": own}, repeatable=method == "tasks/get")
            return shown_task(result, params.task_id, self._route.table(principal).exposer(server))

        return handler

    async def _get_prompt(self, ctx: FrontContext, params: GetPromptRequestParams) -> dict[str, Any]:
        try:
            entry = await self._found(ctx, params.name, lambda table: table.prompts)
        except CredentialProblem as problem:
            return asked_to_sign_in(ctx, problem, self._lot, self._route.table().path)
        if entry is None:
            raise MCPError(INVALID_PARAMS, f"Unknown prompt: {params.name}")
        self._permit(ctx, "prompt", params.name, entry, f"Unknown prompt: {params.name}")
        return await self._ask(ctx, entry.server, "prompts/get", {"name": entry.name}, repeatable=True)

    async def _read_resource(self, ctx: FrontContext, params: ReadResourceRequestParams) -> dict[str, Any]:
        uri = str(params.uri)
        entry = self._route.table(principal_of(ctx)).resource_entry(uri)
        if entry is None:
            raise MCPError(INVALID_PARAMS, f"Resource not found: {uri}", {"uri": uri})
        self._permit(ctx, "resource", uri, entry, f"Resource not found: {uri}", {"uri": uri})
        return await self._ask(ctx, entry.server, "resources/read", {"uri": entry.name}, repeatable=True)

    async def _complete(self, ctx: FrontContext, params: CompleteRequestParams) -> dict[str, Any]:
        table, ref = self._route.table(principal_of(ctx)), params.ref
        name = getattr(ref, "name", None) or getattr(ref, "uri", "")
        entry = (table.prompts if ref.type == "ref/prompt" else table.resource_templates).get(str(name))
        if entry is None:
            raise MCPError(INVALID_PARAMS, f"Unknown reference: {name}")
        kind: Kind = "prompt" if ref.type == "ref/prompt" else "resource_template"
        self._permit(ctx, kind, str(name), entry, f"Unknown reference: {name}")
        try:
            backend = await self._backend(ctx, entry.server)
        except CredentialProblem:  # a call of it tells how to sign in
            return _shown(ctx, "completion/complete", {"completion": {"values": []}})
        if not backend.catalogue.completions:
            return _shown(ctx, "completion/complete", {"completion": {"values": []}})
        own = {"type": ref.type, ("name" if ref.type == "ref/prompt" else "uri"): entry.name}
        return await self._ask(ctx, entry.server, "completion/complete", {"ref": own}, repeatable=True)

    async def _set_level(self, ctx: FrontContext, params: SetLevelRequestParams) -> EmptyResult:
        await FrontSession.of(_connection(ctx)).set_log_level(params.level)
        return EmptyResult()

    async def _roots_changed(self, ctx: FrontContext, _: NotificationParams) -> None:
        await FrontSession.of(_connection(ctx)).roots_changed()

    async def _found(
        self, ctx: FrontContext, name: str, pick: Callable[[RouteTable], Mapping[str, Entry]]
    ) -> Entry | None:
        """What the route shows by that name, in the end; only a call of what is not there waits for its server."""
        principal = principal_of(ctx)
        entry = pick(self._route.table(principal)).get(name)
        if entry is None:
            with _told():
                if await self._route.arrived(name, principal):
                    entry = pick(self._route.table(principal)).get(name)
        return entry

    # One request to one backend

    def _permit(  # noqa: PLR0917
        self, ctx: FrontContext, kind: Kind, name: str, entry: Entry, unknown: str, data: Any = None
    ) -> None:
        """Raise what is said of a thing that is not there, where the caller may not use it: nobody learns what there is."""
        if (reason := self._route.refusal(principal_of(ctx), kind, name, entry)) is not None:
            raise Refused(unknown, reason, data)

    async def _within_limits(self, ctx: FrontContext, entry: Entry) -> None:
        """Count a call; what goes on with one that was counted is no other."""
        if translate.is_continuation(ctx.params or {}):
            return
        limited = await self._route.limited(principal_of(ctx), entry)
        if limited is not None:
            raise RateLimited(limited)

    async def _backend(self, ctx: FrontContext, server: str) -> Backend:
        """Raises MCPError, CredentialProblem."""
        with _told(server):
            backend = await self._route.reach(server, principal_of(ctx))
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
        cache_seconds: float | None = None,
    ) -> dict[str, Any]:
        """Send the client's request on, with `own` in place of the exposed names, and return the result.

        See `eras.exchange`. With `cache_seconds` an equal call of the same caller may be answered from memory.
        """
        principal, path = principal_of(ctx), self._route.table().path
        try:
            backend = await self._backend(ctx, server)
        except CredentialProblem as problem:
            executions.ends("refused")
            return asked_to_sign_in(ctx, problem, self._lot, path)
        if backend.resolved.owner is not None and method == "tools/call" and stands_in(own["name"], backend.catalogue):
            return signed_in(server, modern=translate.is_modern(ctx.protocol_version))
        expose = self._route.table(principal).exposer(server)
        timeout = backend.call_timeout if seconds is None else seconds
        exchange = Exchange(
            ctx,
            backend,
            method,
            own,
            lot=self._lot,
            route=path,
            repeatable=repeatable,
            seconds=timeout,
        )
        try:
            if cache_seconds is None or translate.is_continuation(ctx.params or {}):
                result = await exchange.run()
            else:
                result = await self._route.cache().get_or_call(exchange.cache_key(), cache_seconds, exchange.run)
        except BackendError as error:
            raise wire_error(backend.id, error) from error
        if backend.resolved.owner is not None and result.get("cacheScope") == "public":
            result = {**result, "cacheScope": "private"}
        return _shown(ctx, method, result, expose)


def quarantined(name: str, server: str) -> str:
    """What the caller of a tool is told whose definition is not approved."""
    return (
        f"Tool {name} is quarantined: its definition is not the one that was approved for server {server}, so it is not called."
        " Whoever is responsible for the server can see what has changed, and approve it"
    )


@contextlib.contextmanager
def _told(server: str | None = None) -> Iterator[None]:
    """Why a caller has no instance of a server, as a JSON-RPC error; that it has to sign in is told in another way."""
    try:
        yield
    except Nobody as error:
        executions.ends("refused")
        raise MCPError(INVALID_REQUEST, str(error)) from error
    except StoreUnavailable as error:
        message = (
            f"the credential for {f'server {server}' if server else 'this'} cannot be looked up now: {error}; try again"
        )
        raise MCPError(INTERNAL_ERROR, message) from error
    except BackendError as error:
        raise wire_error(server or "", error) from error


def _connection(ctx: FrontContext) -> Any:
    return ctx.session._connection  # noqa: SLF001 - the stable object behind the per-request session


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
