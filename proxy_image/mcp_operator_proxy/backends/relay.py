"""What a backend says or asks in the middle of a call, carried to the one client whose call it is.

Nothing here is shared between clients: a message of a backend reaches the client whose request it belongs to, found
through the context that the request was sent in, or it reaches nobody.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from mcp.client.session import ClientRequestContext
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
from pydantic import BaseModel

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.backends.connect import Callbacks
from mcp_operator_proxy.backends.session import BackendSession, Call, current_call

logger = logging.getLogger(__name__)
FrontContext: TypeAlias = ServerRequestContext[Any, Any]
_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


@dataclass(frozen=True)
class Capabilities:
    """What a client without a session lets a server ask it for. `owner` keeps users apart."""

    sampling: bool = False
    elicitation: bool = False
    roots: bool = False
    owner: str | None = None

    @classmethod
    def of(cls, declared: ClientCapabilities | None, principal: Principal | None) -> "Capabilities":
        owner = principal.name if principal else None
        if declared is None:
            return cls(owner=owner)
        return cls(declared.sampling is not None, declared.elicitation is not None, declared.roots is not None, owner)


async def _log_to(front: FrontContext, params: LoggingMessageNotificationParams) -> None:
    if params.level in allowed_log_levels(front.protocol_version, front.meta):
        notification = LoggingMessageNotification(params=params)
        await front.session.send_notification(notification, related_request_id=front.request_id)


def pooled_callbacks(capabilities: Capabilities) -> Callbacks:
    """For a session that one stateless request at a time uses.

    What the client can be asked for is declared so that a modern server may ask in its result, which goes to the
    client as it is. A legacy server would have to ask over a back-channel that a stateless client does not have.
    """

    async def log(params: LoggingMessageNotificationParams) -> None:
        if (call := current_call.get()) is not None and call.front is not None:
            await _log_to(call.front, params)

    async def refuse(*_: Any) -> ErrorData:
        return ErrorData(code=INVALID_REQUEST, message="the client has no back-channel to be asked on")

    return Callbacks(
        logging=log,
        sampling=refuse if capabilities.sampling else None,
        elicitation=refuse if capabilities.elicitation else None,
        roots=refuse if capabilities.roots else None,
    )


class FrontRelay:
    """The callbacks of the one backend session that belongs to one client's session."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.session: BackendSession | None = None
        self.log_level: str | None = None

    def callbacks(self) -> Callbacks:
        declared = self._connection.client_capabilities or ClientCapabilities()
        return Callbacks(
            logging=self._log,
            sampling=self._sample if declared.sampling is not None else None,
            sampling_capabilities=declared.sampling,
            elicitation=self._elicit if declared.elicitation is not None else None,
            roots=self._roots if declared.roots is not None else None,
        )

    def _call(self) -> Call | None:
        """The call that a message came with; of several at once on the standing stream, the newest."""
        calls = self.session.calls if self.session is not None else []
        call = current_call.get()
        return call if call in calls else calls[-1] if calls else None

    async def _ask(self, request: ServerRequest, result: type[BaseModel]) -> Any:
        call = self._call()
        try:
            if call is None or call.front is None:
                return await self._connection.send_request(request, result_type=result)
            with call.deadline.paused():
                related = ServerMessageMetadata(related_request_id=call.front.request_id)
                return await call.front.session.send_request(request, result, metadata=related)
        except MCPError as error:
            return error.error

    async def _sample(self, _: ClientRequestContext, params: CreateMessageRequestParams) -> Any:
        result = CreateMessageResultWithTools if params.tools else CreateMessageResult
        return await self._ask(CreateMessageRequest(params=params), result)

    async def _elicit(self, _: ClientRequestContext, params: ElicitRequestParams) -> Any:
        return await self._ask(ElicitRequest(params=params), ElicitResult)

    async def _roots(self, _: ClientRequestContext) -> Any:
        return await self._ask(ListRootsRequest(), ListRootsResult)

    async def _log(self, params: LoggingMessageNotificationParams) -> None:
        if self.log_level is not None and _LEVELS.index(params.level) < _LEVELS.index(self.log_level):
            return
        call = self._call()
        if call is not None and call.front is not None:
            await _log_to(call.front, params)
        else:
            data = params.model_dump(by_alias=True, mode="json", exclude_none=True)
            await self._connection.notify("notifications/message", data)


async def close_all(sessions: list[BackendSession]) -> None:
    if sessions:
        await asyncio.gather(*(session.close() for session in sessions), return_exceptions=True)
