"""What a backend says or asks in the middle of a call, carried to the one client whose call it is.

Nothing here is shared between clients: a message of a backend reaches the client whose request it belongs to, found
through the context that the request was sent in, or it reaches nobody.
"""

import asyncio
import logging
from typing import Any, Final, TypeAlias

from mcp.client.session import ClientRequestContext, IncomingMessage
from mcp.server.connection import Connection, allowed_log_levels
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    INVALID_REQUEST,
    ClientCapabilities,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    CreateMessageResultWithTools,
    ElicitCompleteNotification,
    ElicitCompleteNotificationParams,
    ElicitRequest,
    ElicitRequestParams,
    ElicitResult,
    ErrorData,
    ListRootsRequest,
    ListRootsResult,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
    ServerRequest,
)
from mcp_types.methods import SERVER_NOTIFICATIONS
from pydantic import BaseModel

from mcp_operator_proxy.backends.connect import Callbacks
from mcp_operator_proxy.backends.session import BackendSession, Call, current_call
from mcp_operator_proxy.eras.parked import ParkedCall

logger = logging.getLogger(__name__)
FrontContext: TypeAlias = ServerRequestContext[Any, Any]
_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


async def _log_to(front: FrontContext, params: LoggingMessageNotificationParams) -> None:
    if params.level in allowed_log_levels(front.protocol_version, front.meta):
        notification = LoggingMessageNotification(params=params)
        await front.session.send_notification(notification, related_request_id=front.request_id)


class Relay:
    """The callbacks of one backend session, which serves one client at a time. `session` is set when it is made."""

    def __init__(self, declared: ClientCapabilities | None) -> None:
        self.declared = declared or ClientCapabilities()
        self.session: BackendSession | None = None

    def callbacks(self) -> Callbacks:
        """What the client cannot be asked for is not declared, so that servers do not ask."""
        return Callbacks(
            logging=self._log,
            message=self._message,
            sampling=self._sample if self.declared.sampling is not None else None,
            elicitation=self._elicit if self.declared.elicitation is not None else None,
            roots=self._roots if self.declared.roots is not None else None,
            declared=self.declared,
        )

    def _call(self) -> Call | None:
        """The call that a message came with; of several at once on the standing stream, the newest."""
        calls = self.session.calls if self.session is not None else []
        call = current_call.get()
        return call if call in calls else calls[-1] if calls else None

    async def _sample(self, _: ClientRequestContext, params: CreateMessageRequestParams) -> Any:
        result = CreateMessageResultWithTools if params.tools else CreateMessageResult
        return await self.ask(self._call(), CreateMessageRequest(params=params), result)

    async def _elicit(self, _: ClientRequestContext, params: ElicitRequestParams) -> Any:
        return await self.ask(self._call(), ElicitRequest(params=params), ElicitResult)

    async def _roots(self, _: ClientRequestContext) -> Any:
        return await self.ask(self._call(), ListRootsRequest(), ListRootsResult)

    async def ask(self, call: Call | None, request: ServerRequest, result: type[BaseModel]) -> Any:
        """Carry a server's question to the client of `call`; returns a `result` or an ErrorData."""
        raise NotImplementedError

    async def _log(self, params: LoggingMessageNotificationParams) -> None:
        raise NotImplementedError

    async def _message(self, message: IncomingMessage) -> None:
        """Notifications without a handler of their own."""


class PooledRelay(Relay):
    """For a session that one stateless request at a time uses.

    A modern server asks in its result, which goes to the client as it is. A legacy server asks by a request, for which a
    stateless client has no back-channel: its call is parked (`eras.parked`).
    """

    async def ask(self, call: Call | None, request: ServerRequest, result: type[BaseModel]) -> Any:
        if not isinstance(call, ParkedCall):
            return ErrorData(code=INVALID_REQUEST, message="the client has no back-channel to be asked on")
        wire = request.model_dump(by_alias=True, mode="json", exclude_none=True)
        answer = await call.ask(request.method, wire.get("params") or {})
        return answer if isinstance(answer, ErrorData) else result.model_validate(answer)

    async def _log(self, params: LoggingMessageNotificationParams) -> None:
        if (call := self._call()) is not None:
            await call.tell(lambda front: _log_to(front, params))


class FrontRelay(Relay):
    """For the one backend session that belongs to one client's session."""

    def __init__(self, connection: Connection) -> None:
        declared = connection.client_capabilities
        # Extensions are of the modern era: a client of an older one could not read their results.
        super().__init__(declared.model_copy(update={"extensions": None}) if declared is not None else None)
        self._connection = connection
        self.log_level: str | None = None

    async def ask(self, call: Call | None, request: ServerRequest, result: type[BaseModel]) -> Any:
        try:
            if call is None or call.front is None:
                return await self._connection.send_request(request, result_type=result)
            with call.asking():
                related = ServerMessageMetadata(related_request_id=call.front.request_id)
                return await call.front.session.send_request(request, result, metadata=related)
        except MCPError as error:
            return error.error

    async def _log(self, params: LoggingMessageNotificationParams) -> None:
        if self.log_level is not None and _LEVELS.index(params.level) < _LEVELS.index(self.log_level):
            return
        call = self._call()
        if call is not None and call.front is not None:
            await _log_to(call.front, params)
        else:
            data = params.model_dump(by_alias=True, mode="json", exclude_none=True)
            await self._connection.notify("notifications/message", data)

    async def _message(self, message: IncomingMessage) -> None:
        if isinstance(message, ElicitCompleteNotification):
            await self.elicitation_complete(self._call(), message.params.elicitation_id)

    async def elicitation_complete(self, call: Call | None, elicitation_id: str) -> None:
        """Tell the client that what it was sent to a URL for is done, where its protocol version can say so."""
        notification = ElicitCompleteNotification(
            params=ElicitCompleteNotificationParams(elicitation_id=elicitation_id)
        )
        if (notification.method, self._connection.protocol_version) not in SERVER_NOTIFICATIONS:
            return
        if call is not None and call.front is not None:
            await call.front.session.send_notification(notification, related_request_id=call.front.request_id)
        else:
            await self._connection.notify(notification.method, {"elicitationId": elicitation_id})


async def close_all(sessions: list[BackendSession]) -> None:
    if sessions:
        await asyncio.gather(*(session.close() for session in sessions), return_exceptions=True)
