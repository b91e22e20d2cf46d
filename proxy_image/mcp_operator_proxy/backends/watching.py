"""Watch resources of one backend: one session of its own, open as long as anybody wants to hear of a change.

A server of the handshake eras is sent `resources/subscribe`; a server of 2026-07-28 gets one `subscriptions/listen`
stream that names all URIs. The session sees nothing of the clients and they see nothing of each other, as a note holds
a URI and no content. After a lost session everything is subscribed to again, and each listener is told once that its
resource may have changed: what happened in between nobody knows.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Final, Protocol

from mcp.client.session import IncomingMessage
from mcp.client.subscriptions import SubscriptionLost, listen
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourceUpdated
from mcp_types import METHOD_NOT_FOUND, ResourceUpdatedNotification

from mcp_operator_proxy.backends.classify import BackendError, classify
from mcp_operator_proxy.backends.connect import Callbacks
from mcp_operator_proxy.backends.session import BackendSession, Call
from mcp_operator_proxy.tasks import cancel

logger = logging.getLogger(__name__)
RETRY_FIRST: Final = 0.5
RETRY_MOST: Final = 5.0
Listener = Callable[[str], None]
"""Called with the server's own URI of what changed; it must not raise."""


class NewSession(Protocol):
    """A session to be opened; with `handshake` one of the older eras where the server speaks both."""

    def __call__(self, callbacks: Callbacks, *, handshake: bool) -> BackendSession: ...


class ResourceWatch:
    """`seconds` bounds each request; `poke` says that the server's streams may have broken."""

    def __init__(self, new_session: NewSession, seconds: Callable[[], float]) -> None:
        self._new_session = new_session
        self._seconds = seconds
        self._listeners: defaultdict[str, list[Listener]] = defaultdict(list)
        self._asked: dict[str, asyncio.Future[None]] = {}
        self._had: set[str] = set()
        """URIs that the server has agreed to."""
        self._lost: set[str] = set()
        """Those of them that it has not agreed to again on its present session."""
        self._changed = asyncio.Event()
        self._poked = False
        self._handshake = False
        self._streaming = False
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Nobody listens, and its session has ended."""
        return not self._listeners and (self._task is None or self._task.done())

    async def add(self, uri: str, listener: Listener) -> None:
        """Listen until `remove`. Returns when the server has agreed.

        Raises:
            MCPError: the server refuses; the listener is not kept.
            BackendError: it cannot be asked now. It goes on being asked.
        """
        self._listeners[uri].append(listener)
        answer = self._asked.get(uri)
        if answer is None or _failed(answer):
            answer = self._asked[uri] = asyncio.get_running_loop().create_future()
        self._changed.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            await asyncio.shield(answer)
        except MCPError:
            self.remove(uri, listener)
            raise

    def remove(self, uri: str, listener: Listener) -> None:
        """Hear no more of it. Removing twice does no harm."""
        listeners = self._listeners.get(uri, [])
        with contextlib.suppress(ValueError):
            listeners.remove(listener)
        if not listeners:
            self._listeners.pop(uri, None)
            self._asked.pop(uri, None)
            self._had.discard(uri)
            self._changed.set()

    def poke(self) -> None:
        """See whether the session still lives."""
        if self._task is not None and not self._task.done():
            self._poked = True
            self._changed.set()

    async def close(self) -> None:
        self._listeners.clear()
        if self._task is not None:
            await cancel([self._task])

    async def _run(self) -> None:
        wait = RETRY_FIRST
        while self._listeners:
            session = self._new_session(Callbacks(message=self._on_message), handshake=self._handshake)
            try:
                await session.open()
                await self._serve(session)
            except Exception as error:  # noqa: BLE001 - whatever a server does, its resources are watched on
                logger.debug("watching resources: %s", error)
                self._fail(error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, RETRY_MOST)
            else:
                wait = RETRY_FIRST
            finally:
                await session.close()

    def _fail(self, error: Exception) -> None:
        """Nobody waits for a server that cannot be asked; it is asked again all the same."""
        failure = error if isinstance(error, BackendError) else BackendError(classify(error))
        for uri in self._listeners:
            self._settle(uri, failure)

    def _settle(self, uri: str, error: Exception | None = None) -> None:
        answer = self._asked.get(uri)
        if answer is None or answer.done():
            return
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(error)
            answer.exception()  # retrieved, in case that nobody waits

    def _agreed(self, uri: str) -> None:
        answer = self._asked.get(uri)
        if answer is not None and _failed(answer):
            self._asked[uri] = asyncio.get_running_loop().create_future()
        self._settle(uri)
        self._had.add(uri)
        if uri in self._lost:
            self._lost.discard(uri)
            self._tell(uri)

    def _refused(self, uri: str, error: MCPError) -> None:
        """The server will not have it: whoever waits hears it, whoever had it hears nothing any more."""
        self._settle(uri, error)
        self._listeners.pop(uri, None)
        self._asked.pop(uri, None)
        self._had.discard(uri)

    def _tell(self, uri: str) -> None:
        """An update may name a part of what was subscribed to."""
        for watched, listeners in list(self._listeners.items()):
            if uri == watched or uri.startswith(watched.rstrip("/") + "/"):
                for listener in list(listeners):
                    listener(uri)

    async def _on_message(self, message: IncomingMessage) -> None:
        # In the modern era the library hands over what came on a stream twice: here, and to the stream.
        if isinstance(message, ResourceUpdatedNotification) and not self._streaming:
            self._tell(str(message.params.uri))

    async def _serve(self, session: BackendSession) -> None:
        connected = session.connected
        self._lost, self._streaming = set(self._had), connected.modern
        resources = connected.capabilities.resources
        if resources is not None and resources.subscribe:
            await (self._by_listening if connected.modern else self._by_subscribing)(session)
        elif connected.modern and not self._handshake:
            self._handshake = True  # perhaps it sends updates in the older way only
        else:
            self._refuse_all()

    def _refuse_all(self) -> None:
        for uri in list(self._listeners):
            self._refused(uri, MCPError(METHOD_NOT_FOUND, "the server sends no updates of resources"))

    # 2026-07-28

    async def _by_listening(self, session: BackendSession) -> None:
        """A stream cannot be changed: another takes over, and the old one ends when that stands."""
        stream: asyncio.Task[None] | None = None
        try:
            while self._listeners:
                self._changed.clear()
                wanted = frozenset(self._listeners)
                ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                following = asyncio.get_running_loop().create_task(self._stream(session, wanted, ready))
                await asyncio.wait([following, ready], return_when=asyncio.FIRST_COMPLETED)
                if stream is not None:
                    await cancel([stream])
                stream = following
                while self._listeners and frozenset(self._listeners) == wanted:
                    waking = asyncio.get_running_loop().create_task(self._changed.wait())
                    await asyncio.wait([stream, waking], return_when=asyncio.FIRST_COMPLETED)
                    await cancel([waking])
                    self._changed.clear()
                    if stream.done():
                        stream.result()
                        raise SubscriptionLost("the server ended the stream")
        finally:
            if stream is not None:
                await cancel([stream])

    async def _stream(self, session: BackendSession, wanted: frozenset[str], ready: "asyncio.Future[None]") -> None:
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._seconds()):
                    updates = await stack.enter_async_context(
                        listen(session.connected.session, resource_subscriptions=sorted(wanted))
                    )
            except MCPError as error:
                if error.code != METHOD_NOT_FOUND:
                    raise
                self._refuse_all()
                return
            honored = {str(uri) for uri in updates.honored.resource_subscriptions or ()}
            for uri in wanted:
                if uri in honored:
                    self._agreed(uri)
                else:
                    self._refused(uri, MCPError(METHOD_NOT_FOUND, "the server sends no updates of this resource"))
            ready.set_result(None)
            async for event in updates:
                if isinstance(event, ResourceUpdated):
                    self._tell(str(event.uri))

    # Up to 2025-11-25

    async def _by_subscribing(self, session: BackendSession) -> None:
        held: set[str] = set()
        while self._listeners or held:
            self._changed.clear()
            for uri in held - self._listeners.keys():
                held.discard(uri)
                with contextlib.suppress(MCPError):
                    await session.request("resources/unsubscribe", {"uri": uri}, Call(None, self._seconds()))
            for uri in self._listeners.keys() - held:
                try:
                    await session.request("resources/subscribe", {"uri": uri}, Call(None, self._seconds()))
                except MCPError as error:
                    self._refused(uri, error)
                else:
                    held.add(uri)
                    self._agreed(uri)
            if self._poked:
                self._poked = False
                await session.request("ping", {}, Call(None, self._seconds()))
            if self._listeners.keys() == held and held:
                await self._changed.wait()


def _failed(answer: "asyncio.Future[None]") -> bool:
    return answer.done() and answer.exception() is not None
