"""One request of a client to one backend, whichever era each of them is of.

| client | backend | questions in the middle of a call |
| --- | --- | --- |
| legacy | legacy | a request of the backend goes to the client as a request, on the stream of its call (`backends.relay`) |
| legacy | modern | questions in the result go to the client as requests, the call is sent again with the answers (`rounds`) |
| modern | legacy | the call is parked, the client is asked by its result (`parked`) |
| modern | modern | result and continuation go through as they are |
"""

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, get_args

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    LOG_LEVEL_META_KEY,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    URL_ELICITATION_REQUIRED,
    CreateMessageRequest,
    CreateMessageResult,
    CreateMessageResultWithTools,
    ElicitRequest,
    ElicitResult,
    ErrorData,
    ListRootsRequest,
    ListRootsResult,
    LoggingLevel,
)
from mcp_types.methods import INPUT_REQUIRED_METHODS, MONOLITH_REQUESTS, is_input_required
from pydantic import BaseModel

from mcp_operator_proxy.auth import PRINCIPAL, Principal
from mcp_operator_proxy.backends.ask import ask
from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.backends.relay import FrontContext, FrontRelay
from mcp_operator_proxy.backends.session import BackendSession, Call
from mcp_operator_proxy.backends.waits import waiting
from mcp_operator_proxy.cache import Key, caller_of, key_of
from mcp_operator_proxy.eras import translate
from mcp_operator_proxy.eras.capabilities import Capabilities
from mcp_operator_proxy.eras.parked import LOST, REASON, Leg, ParkedCall, ParkingLot, all_accepted
from mcp_operator_proxy.eras.rounds import drive
from mcp_operator_proxy.eras.states import binding_of
from mcp_operator_proxy.fastlane.sink import FIRST_RESULT
from mcp_operator_proxy.front import FrontSession

Json: TypeAlias = dict[str, Any]
_LEVELS: Final = frozenset(get_args(LoggingLevel))
_LEVEL_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Exchange:
    """One request: `own` stands in place of the exposed names, `route` is the route's path, `seconds` what it may take."""

    ctx: FrontContext
    backend: Backend
    method: str
    own: Mapping[str, Any]
    lot: ParkingLot
    route: str
    repeatable: bool
    seconds: float

    async def run(self) -> Json:
        """Send it on and return the result as the backend wrote it. See `backends.ask` for when it is sent a second time.

        Raises:
            MCPError: the backend's JSON-RPC error, or one of the continuation (its state, its answers).
            BackendError: there was no proper answer.
        """
        params = {**(self.ctx.params or {}), **self.own}
        if not translate.is_modern(self.ctx.protocol_version):
            return await self._asking(lambda: self._of_session(params))
        leg = self._leg()
        try:
            return await self._of_leg(leg, params)
        except MCPError as error:
            if error.code != URL_ELICITATION_REQUIRED or self.method not in INPUT_REQUIRED_METHODS:
                raise
            return _sent_to_urls(leg, error, self.lot)

    def cache_key(self) -> Key:
        """Of a tool's call."""
        arguments = (self.ctx.params or {}).get("arguments") or {}
        session = self.ctx.session._connection.session_id  # noqa: SLF001
        caller = caller_of(principal_of(self.ctx), session)
        return key_of(caller, self.route, self.backend.id, str(self.own["name"]), arguments)

    async def _asking(self, once: Callable[[], Awaitable[Json]]) -> Json:
        return await ask(self.backend, once, repeatable=self.repeatable, seconds=self.seconds)

    # A client of the modern era

    def _leg(self) -> Leg:
        ctx = self.ctx
        params, principal = ctx.params or {}, principal_of(ctx)
        binding = binding_of(principal, self.route, self.method, params)
        return Leg(ctx, principal, binding, Capabilities.of(ctx.session.client_capabilities, principal), params)

    async def _of_leg(self, leg: Leg, params: Json) -> Json:
        if (claims := self.lot.claims(leg)) is not None:
            if claims.call:
                return await self.lot.resume(leg, claims)
            if claims.inner is None:
                all_accepted(params)
                params = {key: value for key, value in params.items() if key not in translate.CONTINUATION}
            else:
                params["requestState"] = claims.inner
        if (
            not self.backend.modern
            and self.method in INPUT_REQUIRED_METHODS
            and translate.may_be_asked(leg.capabilities.as_dict())
        ):

            async def work(call: ParkedCall) -> Json:
                return await self._asking(lambda: self._stateless(leg, params, call))

            return await self.lot.begin(leg, self.seconds, self.backend.gate, work)
        return await self._asking(lambda: self._stateless(leg, params, Call(self.ctx, self.seconds)))

    async def _stateless(self, leg: Leg, params: Json, call: Call) -> Json:
        if (first := _first_result(self.ctx)) is not None:
            return self.lot.wrapped(leg, first)
        meta = _meta(self.ctx)
        if meta.get("progressToken") is not None:
            call.on_progress = _progress_to(call)
        async with self.backend.pool.lease(leg.capabilities) as session:
            modern = session.connected.modern
            if not modern and translate.is_continuation(params):
                raise MCPError(INVALID_PARAMS, LOST, REASON)
            level = meta.get(LOG_LEVEL_META_KEY)
            if not modern and isinstance(level, str) and level in _LEVELS:
                await _set_level(session, level)
            result = await session.request(self.method, translate.request_for(params, modern=modern), call)
            return self.lot.wrapped(leg, result)

    # A client of the handshake eras

    async def _of_session(self, params: Json) -> Json:
        call = Call(self.ctx, self.seconds, gate=self.backend.gate)
        if _meta(self.ctx).get("progressToken") is not None:
            call.on_progress = _progress_to(call)
        front = FrontSession.of(self.ctx.session._connection)  # noqa: SLF001 - the stable object behind the request's
        if (principal := principal_of(self.ctx)) is not None:
            front.principal = principal.key
        first, level = _first_result(self.ctx), front.log_level or "debug"
        what = self.method, str(params.get("name") or params.get("uri"))
        session, relay = await front.session(self.backend, asks_in_results=what in self.backend.asks_in_results)
        sent = translate.request_for(params, modern=session.connected.modern, log_level=level)
        try:
            result = first if first is not None else await session.request(self.method, sent, call)
        except MCPError as error:
            if session.connected.modern or not self.backend.modern or not _asks_in_result(error):
                raise
            # It gave up before it did anything but ask: what asks in results is run anew for each answer anyway.
            self.backend.asks_in_results.add(what)
            session, relay = await front.session(self.backend, asks_in_results=True)
            sent = translate.request_for(params, modern=session.connected.modern, log_level=level)
            result = await session.request(self.method, sent, call)
        if not is_input_required(result):
            return result
        return await drive(
            result,
            send=lambda more: session.request(self.method, {**sent, **more}, call),
            ask=lambda method, params: _ask_client(relay, call, method, params),
            done=lambda elicitation_id: relay.elicitation_complete(call, elicitation_id),
            capabilities=relay.declared.model_dump(by_alias=True, mode="json", exclude_none=True),
            seconds=self.seconds,
        )


def _first_result(ctx: FrontContext) -> dict[str, Any] | None:
    """What the fast lane was answered when it sent this request; it is used up by the first look."""
    found = ctx.request.scope.pop(FIRST_RESULT, None) if ctx.request is not None else None
    return found if isinstance(found, dict) else None


def _asks_in_result(error: MCPError) -> bool:
    """Whether a server of both eras says that it can ask only in a result, which the handshake eras don't know.

    FastMCP names the type; the protocol has no code for this.
    """
    return error.code == INVALID_PARAMS and "InputRequiredResult" in error.message


def principal_of(ctx: FrontContext) -> Principal | None:
    """The authenticated caller of a request, None where everybody may call."""
    found = ctx.request.scope.get(PRINCIPAL) if ctx.request is not None else None
    return found if isinstance(found, Principal) else None


async def _set_level(session: BackendSession, level: str) -> None:
    """A legacy server has one level for a session; it is set when the session has served with another one."""
    if session.log_level == level or session.connected.capabilities.logging is None:
        return
    session.log_level = level
    with contextlib.suppress(MCPError, BackendError):  # the relay filters by level too
        await session.request("logging/setLevel", {"level": level}, Call(None, _LEVEL_SECONDS))


_ANSWERS: Final[Mapping[str, type[BaseModel]]] = {
    "elicitation/create": ElicitResult,
    "sampling/createMessage": CreateMessageResult,
    "roots/list": ListRootsResult,
}


async def _ask_client(relay: FrontRelay, call: Call, method: str, params: Json) -> Json | ErrorData:
    wire = {"method": method, "params": params} if params else {"method": method}
    request = MONOLITH_REQUESTS[method].model_validate(wire, by_name=False)
    assert isinstance(request, (ElicitRequest, CreateMessageRequest, ListRootsRequest))
    kind = CreateMessageResultWithTools if params.get("tools") else _ANSWERS[method]
    with waiting():
        answer = await relay.ask(call, request, kind)
    if isinstance(answer, ErrorData):
        return answer
    dumped: Json = answer.model_dump(by_alias=True, mode="json", exclude_none=True)
    return dumped


def _sent_to_urls(leg: Leg, error: MCPError, lot: ParkingLot) -> Json:
    """Error -32042 says which URLs the user is to visit before the call is sent again; the modern era asks for it."""
    elicitations = translate.elicitations_of(error.error.data)
    if not elicitations:
        raise error
    questions = [translate.question_for_modern("elicitation/create", params) for params in elicitations]
    if translate.refusal("elicitation/create", elicitations[0], leg.capabilities.as_dict()) is not None:
        needed = {"requiredCapabilities": translate.required_capabilities(questions[0])}
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, error.error.message, needed) from error
    return lot.ask_anew(leg, {f"elicitation-{number}": question for number, question in enumerate(questions, 1)})


def _meta(ctx: FrontContext) -> Mapping[str, Any]:
    """The request's `_meta` as the client wrote it."""
    meta = (ctx.params or {}).get("_meta")
    return meta if isinstance(meta, Mapping) else {}


def _progress_to(call: Call) -> Callable[..., Any]:
    async def progress(progress: float, total: float | None, message: str | None) -> None:
        call.deadline.renew()
        await call.tell(lambda front: front.session.report_progress(progress, total, message))

    return progress
