"""Which clients of one route watch which resources, under the URIs that they know.

Clients of the handshake eras come by `resources/subscribe`, those of 2026-07-28 by `subscriptions/listen`; a server of
either era is watched for both (`backends.watching`). A subscription belongs to its client: it ends with the session or
the stream, and goes on through swaps. What a swap takes away sleeps until another brings it back.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

from mcp_operator_proxy.auth import Principal
from mcp_operator_proxy.backends.ask import wire_error
from mcp_operator_proxy.backends.backend import Backend
from mcp_operator_proxy.backends.catalogue import Catalogue
from mcp_operator_proxy.backends.classify import BackendError
from mcp_operator_proxy.backends.watching import ResourceWatch
from mcp_operator_proxy.table import RouteTable
from mcp_operator_proxy.tasks import cancel, keep, spawn

logger = logging.getLogger(__name__)
MAX_URIS: Final = 1_000
"""Of one client."""

Updated = Callable[[str, str], None]
"""Called with the exposed URI that was subscribed to, and that of what changed: the same, or a part of it."""


class Sources(Protocol):
    """The route as it is at this moment."""

    def table(self, principal: Principal | None = None) -> RouteTable:
        """As it shows itself to a caller."""
        ...

    def backend(self, server: str, principal: Principal | None = None) -> Backend | None:
        """The caller's instance of a server, where each user has one; None where it has not been made."""
        ...

    def catalogues(self, principal: Principal | None) -> list[Catalogue]:
        """Those of the servers of the route, for a caller."""
        ...


class Subscriber:
    """One client's session or stream. `principal` is what keeps users apart at servers with instances of their own."""

    def __init__(self, principal: Principal | None, updated: Updated) -> None:
        self.principal = principal
        self.owner = principal.key if principal is not None else None
        self.updated = updated
        self.bindings: dict[str, _Binding] = {}


class _Binding:
    """One subscriber's subscription to one URI, tied to the server that has it now."""

    def __init__(self, subscriber: Subscriber, uri: str) -> None:
        self.subscriber = subscriber
        self.uri = uri
        self.backend: Backend | None = None
        self.own = ""
        self._watch: ResourceWatch | None = None

    def find(self, sources: Sources) -> tuple[Backend, str] | None:
        principal = self.subscriber.principal
        found = sources.table(principal).resource(self.uri)
        backend = sources.backend(found[0], principal) if found is not None else None
        return None if found is None or backend is None else (backend, found[1])

    async def tie(self, backend: Backend, own: str) -> None:
        """Raises MCPError, BackendError: see `ResourceWatch.add`."""
        self.untie()
        self.backend, self.own, self._watch = backend, own, backend.watch(self.subscriber.owner)
        await self._watch.add(own, self._heard)

    def untie(self) -> None:
        if self._watch is not None:
            self._watch.remove(self.own, self._heard)
        self.backend = self._watch = None

    def _heard(self, own: str) -> None:
        """`own` is what was subscribed to, or begins with it; the exposed URI ends in the same way."""
        self.subscriber.updated(self.uri, self.uri if own == self.own else self.uri + own[len(self.own) :])


class Subscriptions:
    """All of one route."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._subscribers: set[Subscriber] = set()
        self._retying: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return sum(len(subscriber.bindings) for subscriber in self._subscribers)

    async def subscribe(self, subscriber: Subscriber, uri: str) -> None:
        """Returns when the server has agreed. Subscribing twice is as good as once.

        Raises:
            MCPError: there is no such resource, its server refuses, or it cannot be asked.
        """
        if uri in subscriber.bindings:
            return
        if len(subscriber.bindings) >= MAX_URIS:
            raise MCPError(INVALID_PARAMS, f"at most {MAX_URIS} resources can be subscribed to")
        binding = _Binding(subscriber, uri)
        found = binding.find(self._sources)
        if found is None:
            raise MCPError(INVALID_PARAMS, f"Resource not found: {uri}", {"uri": uri})
        backend, own = found
        subscriber.bindings[uri] = binding
        self._subscribers.add(subscriber)
        try:
            await binding.tie(backend, own)
        except BackendError as error:
            self.unsubscribe(subscriber, uri)
            raise wire_error(backend.id, error) from error
        except BaseException:
            self.unsubscribe(subscriber, uri)
            raise

    async def subscribe_where_possible(self, subscriber: Subscriber, uris: Iterable[str], seconds: float) -> list[str]:
        """Subscribe to all that a server agrees to, and return it.

        A server that is down keeps its place: it will be asked again. So do those that say nothing within `seconds`.
        """
        wanted = list(dict.fromkeys(uris))[:MAX_URIS]
        self._subscribers.add(subscriber)
        asking = {uri: asyncio.get_running_loop().create_task(self._try(subscriber, uri)) for uri in wanted}
        if asking:
            await asyncio.wait(asking.values(), timeout=seconds)
        for task in asking.values():
            if not task.done():
                keep(task, self._retying)
        return [uri for uri in wanted if uri in subscriber.bindings]

    async def _try(self, subscriber: Subscriber, uri: str) -> None:
        binding = _Binding(subscriber, uri)
        if (found := binding.find(self._sources)) is None:
            return
        subscriber.bindings[uri] = binding
        await self._retie(binding, *found)
        if binding.backend is None:
            subscriber.bindings.pop(uri, None)

    def unsubscribe(self, subscriber: Subscriber, uri: str) -> None:
        """Unsubscribing from what was not subscribed to does no harm."""
        binding = subscriber.bindings.pop(uri, None)
        if binding is not None:
            binding.untie()
        if not subscriber.bindings:
            self._subscribers.discard(subscriber)

    def drop(self, subscriber: Subscriber) -> None:
        """The client has gone."""
        for uri in list(subscriber.bindings):
            self.unsubscribe(subscriber, uri)
        self._subscribers.discard(subscriber)

    def swapped(self) -> None:
        """The route may have changed: tie to other servers what they have now, and tell the subscribers of it."""
        for subscriber in self._subscribers:
            for binding in subscriber.bindings.values():
                found = binding.find(self._sources)
                if found is None:
                    binding.untie()
                elif found != (binding.backend, binding.own):
                    spawn(self._retie(binding, *found, tell=True), self._retying)

    async def _retie(self, binding: _Binding, backend: Backend, own: str, *, tell: bool = False) -> None:
        try:
            with contextlib.suppress(BackendError):  # it is asked again
                await binding.tie(backend, own)
        except MCPError:
            if (binding.backend, binding.own) == (backend, own):
                binding.untie()
            return
        if tell and binding.backend is backend:
            binding.subscriber.updated(binding.uri, binding.uri)
        if binding.subscriber.bindings.get(binding.uri) is not binding:
            binding.untie()  # unsubscribed meanwhile

    async def close(self) -> None:
        for subscriber in list(self._subscribers):
            self.drop(subscriber)
        await cancel(self._retying)
