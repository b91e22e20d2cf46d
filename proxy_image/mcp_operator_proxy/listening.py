"""The requests by which a client says what it wants to hear of: `resources/subscribe`, `subscriptions/listen`.

FastMCP serves neither.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol, cast

from mcp.server.connection import Connection
from mcp.server.lowlevel.server import Server
from mcp.server.subscriptions import (
    SUBSCRIPTION_ID_META_KEY,
    ListenHandler,
    ResourceUpdated,
    ServerEvent,
    SubscriptionBus,
)
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    EmptyResult,
    Notification,
    RequestId,
    SubscribeRequestParams,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotification,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.backends.relay import FrontContext
from mcp_operator_proxy.eras.capabilities import takes_tasks
from mcp_operator_proxy.eras.exchange import principal_of
from mcp_operator_proxy.notify import events
from mcp_operator_proxy.refusals import Refused
from mcp_operator_proxy.subscriptions import Sources, Subscriber, Subscriptions
from mcp_operator_proxy.table import Changes, Entry, Kind, RouteTable
from mcp_operator_proxy.taskrequests import needs_tasks
from mcp_operator_proxy.tasktokens import Sealed, TaskTokens
from mcp_operator_proxy.taskwatch import TaskWatch, task_ids

MAX_STREAMS: Final = 20_000
ASK_SECONDS: Final = 3.0
"""How long a stream's acknowledgement waits for servers to agree. One that takes longer is counted as willing."""
_KEY: Final = "mcp_operator_proxy.subscriber"

Tell = Callable[[Connection, str], None]
"""Called with a client of the handshake eras and the URI of what changed."""


class Rules(Sources, Protocol):
    """A route that also says what a caller may use."""

    def refusal(self, principal: Principal | None, kind: Kind, name: str, entry: Entry) -> str | None: ...

    def task_refusal(self, principal: Principal | None, task: Sealed) -> str | None: ...

    async def listed(self, principal: Principal | None) -> RouteTable: ...


class Listening:
    """The handlers, installed on the server of one route. `bus` carries what all listeners of the route may hear."""

    def __init__(
        self, server: "Server[Any]", route: Rules, bus: SubscriptionBus, tell: Tell, tokens: TaskTokens
    ) -> None:
        self._route = route
        self._tokens = tokens
        self._tasks: set[TaskWatch] = set()
        self._bus = bus
        self._tell = tell
        self._streams: set[ListenHandler] = set()
        self._of_callers: dict[_StreamBus, Principal] = {}
        self._draining = False
        self.subscriptions = Subscriptions(route)
        server.add_request_handler("resources/subscribe", SubscribeRequestParams, self._subscribe)
        server.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, self._unsubscribe)
        server.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, self._listen)

    def swapped(self) -> None:
        """The table or the backends of the route may have changed."""
        self.subscriptions.swapped()
        for tasks in self._tasks:
            tasks.swapped()

    def tell_those(self, who: Callable[[Principal], bool], changes: Changes) -> None:
        """Tell the listen streams of some callers."""
        for bus, principal in list(self._of_callers.items()):
            if who(principal):
                for event in events(changes):
                    bus.tell(event)

    def end_streams(self) -> None:
        """End all listen streams gracefully, and those that are opened from now on as soon as they are."""
        self._draining = True
        for stream in list(self._streams):
            stream.close()

    async def close(self) -> None:
        self.end_streams()
        await self.subscriptions.close()

    # Up to 2025-11-25

    async def _subscribe(self, ctx: FrontContext, params: SubscribeRequestParams) -> EmptyResult:
        uri = str(params.uri)
        self._permit(ctx, uri)
        await self._route.listed(principal_of(ctx))
        await self.subscriptions.subscribe(self._subscriber(ctx), uri)
        return EmptyResult()

    async def _unsubscribe(self, ctx: FrontContext, params: UnsubscribeRequestParams) -> EmptyResult:
        self.subscriptions.unsubscribe(self._subscriber(ctx), str(params.uri))
        return EmptyResult()

    def _subscriber(self, ctx: FrontContext) -> Subscriber:
        """The one of the client's connection, with which it ends."""
        connection: Connection = ctx.session._connection  # noqa: SLF001 - the stable object behind the per-request session
        found = connection.state.get(_KEY)
        if isinstance(found, Subscriber):
            return found
        principal = principal_of(ctx)

        def tell(subscribed: str, changed: str) -> None:
            if self._permitted(principal, subscribed):
                self._tell(connection, changed)

        made = Subscriber(principal, tell)
        connection.state[_KEY] = made
        connection.exit_stack.callback(self.subscriptions.drop, made)
        return made

    # 2026-07-28

    async def _listen(self, ctx: FrontContext, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        if len(self._streams) >= MAX_STREAMS:
            raise MCPError(INTERNAL_ERROR, "Subscription limit reached")
        bus = _StreamBus(self._bus, lambda: self._begun(stream))
        principal = principal_of(ctx)

        def tell(subscribed: str, _: str) -> None:
            if self._permitted(principal, subscribed):
                bus.tell(ResourceUpdated(uri=subscribed))

        subscriber = Subscriber(principal, tell)
        stream = ListenHandler(bus, max_subscriptions=1)
        self._streams.add(stream)
        if principal is not None:
            self._of_callers[bus] = principal
        try:
            await self._route.listed(principal)
            uris = [str(uri) for uri in params.notifications.resource_subscriptions or ()]
            for uri in uris:
                self._permit(ctx, uri)
            permitted = self._permitted_tasks(principal, task_ids(params.notifications))
            agreed = await self.subscriptions.subscribe_where_possible(subscriber, uris, ASK_SECONDS)
            wanted = params.model_copy(update={"notifications": _with(params.notifications, agreed)})
            if not task_ids(params.notifications):
                return await stream(ctx, wanted)
            async with self._with_tasks(ctx, permitted) as telling:
                return await stream(telling, wanted)
        finally:
            self._streams.discard(stream)
            self._of_callers.pop(bus, None)
            self.subscriptions.drop(subscriber)

    def _permitted_tasks(self, principal: Principal | None, ids: list[str]) -> list[str]:
        """Those whose tools the caller may call; one that is not the caller's is passed over later."""
        opened = ((task_id, self._tokens.open(task_id, principal)) for task_id in ids)
        return [i for i, task in opened if task is None or self._route.task_refusal(principal, task) is None]

    def _begun(self, stream: ListenHandler) -> None:
        """A stream is about to acknowledge itself; where it has no future, it ends right after that."""
        if self._draining:
            asyncio.get_running_loop().call_soon(stream.close)

    @contextlib.asynccontextmanager
    async def _with_tasks(self, ctx: FrontContext, ids: list[str]) -> AsyncIterator[FrontContext]:
        """The context for a stream that also tells of tasks."""
        if not takes_tasks(ctx.session.client_capabilities):
            raise needs_tasks()
        session = _TaskSession(ctx)
        tasks = TaskWatch(self._route, self._tokens, principal_of(ctx), ids, session.tell)
        self._tasks.add(tasks)
        try:
            session.honored = await tasks.start(ASK_SECONDS)
            yield replace(ctx, session=cast("Any", session))
        finally:
            self._tasks.discard(tasks)
            await tasks.close()

    def _permit(self, ctx: FrontContext, uri: str) -> None:
        if not self._permitted(principal_of(ctx), uri):
            raise Refused(f"Resource not found: {uri}", "no policy permits it", {"uri": uri})

    def _permitted(self, principal: Principal | None, uri: str) -> bool:
        """As long as no server has a resource, nobody is refused it."""
        entry = self._route.table(principal).resource_entry(uri)
        return entry is None or self._route.refusal(principal, "resource", uri, entry) is None


class _TaskSession:
    """Stands for the session of a stream: names the tasks in the acknowledgement, and tells of them after it."""

    def __init__(self, ctx: FrontContext) -> None:
        self._ctx = ctx
        self._acknowledged = asyncio.Event()
        self.honored: list[str] = []

    async def send_notification(self, notification: Any, related_request_id: RequestId | None = None) -> None:
        if isinstance(notification, SubscriptionsAcknowledgedNotification):
            wire = notification.params.notifications.model_dump(by_alias=True, exclude_none=True)
            told = SubscriptionFilter.model_validate({**wire, "taskIds": self.honored} if self.honored else wire)
            params = notification.params.model_copy(update={"notifications": told})
            notification = notification.model_copy(update={"params": params})
        await self._ctx.session.send_notification(notification, related_request_id=related_request_id)
        self._acknowledged.set()

    async def tell(self, task: dict[str, Any]) -> None:
        await self._acknowledged.wait()
        meta = {**task.get("_meta", {}), SUBSCRIPTION_ID_META_KEY: self._ctx.request_id}
        note: Any = Notification[dict[str, Any], str](method="notifications/tasks", params={**task, "_meta": meta})
        await self._ctx.session.send_notification(note, related_request_id=self._ctx.request_id)


class _StreamBus:
    """What one stream hears: all that its route tells everybody, and what it alone is told."""

    def __init__(self, shared: SubscriptionBus, begun: Callable[[], None]) -> None:
        self._shared = shared
        self._begun = begun
        self._listeners: list[Callable[[ServerEvent], None]] = []
        self._early: list[ServerEvent] = []

    async def publish(self, event: ServerEvent) -> None:
        self.tell(event)

    def tell(self, event: ServerEvent) -> None:
        for listener in self._listeners:
            listener(event)
        if not self._listeners:
            self._early.append(event)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        early, self._early = self._early, []
        for event in early:
            listener(event)
        unsubscribe = partial(self._unsubscribe, listener, self._shared.subscribe(listener))
        self._begun()
        return unsubscribe

    def _unsubscribe(self, listener: Callable[[ServerEvent], None], shared: Callable[[], None]) -> None:
        shared()
        if listener in self._listeners:
            self._listeners.remove(listener)


def _with(wanted: SubscriptionFilter, uris: list[str]) -> SubscriptionFilter:
    return wanted.model_copy(update={"resource_subscriptions": uris or None})
