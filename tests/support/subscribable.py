"""Resource subscriptions and change notifications for a FastMCP server, which has none of its own, in both eras."""

import weakref
from collections import defaultdict
from typing import Any

from fastmcp import FastMCP
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    EmptyResult,
    NotificationParams,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    UnsubscribeRequestParams,
)

RequestContext = ServerRequestContext[Any, Any]


class Subscribable:
    """Adds `resources/subscribe`, `resources/unsubscribe` and `subscriptions/listen` to `mcp`.

    `watched` are the URIs subscribed to on handshake sessions that still live, `asked` all that ever were. A URI in
    `refused` is refused.
    """

    def __init__(self, mcp: FastMCP[Any]) -> None:
        self._bus = InMemorySubscriptionBus()
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._watching: defaultdict[str, set[Connection]] = defaultdict(set)
        self.asked: list[str] = []
        self.refused: set[str] = set()
        self.listen = ListenHandler(self._bus)
        server = mcp._mcp_server
        server.add_request_handler("resources/subscribe", SubscribeRequestParams, self._subscribe)
        server.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, self._unsubscribe)
        server.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, self._listen)
        server.add_notification_handler("notifications/initialized", NotificationParams, self._initialized)

    @property
    def watched(self) -> set[str]:
        return {uri for uri, connections in self._watching.items() if connections}

    @property
    def watchers(self) -> int:
        """Handshake sessions with a subscription, each counted once for each URI."""
        return sum(map(len, self._watching.values()))

    async def _listen(self, ctx: RequestContext, params: SubscriptionsListenRequestParams) -> Any:
        self.asked.extend(params.notifications.resource_subscriptions or ())
        return await self.listen(ctx, params)

    async def _initialized(self, ctx: RequestContext, _: NotificationParams) -> None:
        self._connections.add(ctx.session._connection)

    async def _subscribe(self, ctx: RequestContext, params: SubscribeRequestParams) -> EmptyResult:
        uri, connection = str(params.uri), ctx.session._connection
        if uri in self.refused:
            raise MCPError(INVALID_PARAMS, f"Resource not found: {uri}")
        if not any(connection in others for others in self._watching.values()):
            connection.exit_stack.callback(self._gone, connection)
        self._watching[uri].add(connection)
        self.asked.append(uri)
        return EmptyResult()

    async def _unsubscribe(self, ctx: RequestContext, params: UnsubscribeRequestParams) -> EmptyResult:
        self._watching[str(params.uri)].discard(ctx.session._connection)
        return EmptyResult()

    def _gone(self, connection: Connection) -> None:
        for connections in self._watching.values():
            connections.discard(connection)

    async def updated(self, uri: str) -> None:
        """Tell the subscribers that the resource has changed."""
        for connection in list(self._watching[uri]):
            await connection.notify("notifications/resources/updated", {"uri": uri})
        await self._bus.publish(ResourceUpdated(uri=uri))

    async def tools_changed(self) -> None:
        await self._changed("tools", ToolsListChanged())

    async def prompts_changed(self) -> None:
        await self._changed("prompts", PromptsListChanged())

    async def resources_changed(self) -> None:
        await self._changed("resources", ResourcesListChanged())

    async def _changed(self, what: str, event: ServerEvent) -> None:
        for connection in list(self._connections):
            await connection.notify(f"notifications/{what}/list_changed", None)
        await self._bus.publish(event)
