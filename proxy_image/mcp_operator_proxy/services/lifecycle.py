"""Servers started, stopped and started anew by those who operate the proxy, beside what the configuration says.

A server that is stopped keeps its place in the configuration, but nothing of it runs: its calls in flight end, then its
connections and processes, and its tools leave the lists. All workers of the pod do the same, also one that comes later for one that
ended: they tell and ask each other. With Redis all replicas do, also those that start later.
"""

import asyncio
import contextlib
import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import urlencode

from mcp_operator_proxy.library.processes import RESTART_SECONDS, restart
from mcp_operator_proxy.services.wishes import Wishes
from mcp_operator_proxy.stores.keyvalue import StoreUnavailable
from mcp_operator_proxy.tasks import cancel, dismiss

if TYPE_CHECKING:
    from mcp_operator_proxy.backends.backend import Backend
    from mcp_operator_proxy.proxy import Proxy
    from mcp_operator_proxy.services.stores import Stores
    from mcp_operator_proxy.swap.prepared import Prepared

logger = logging.getLogger(__name__)
Action: TypeAlias = Literal["start", "stop", "restart"]
CHANNEL: Final = "servers"
STOPPED: Final = "stopped:"
"""Prefix of the keys that say which servers are stopped."""


class Lifecycle:
    """`wishes` say which servers are stopped. The swap leaves them out."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self.wishes = Wishes()
        self._stores: Stores | None = None
        self._following: asyncio.Task[None] | None = None
        self._ended: set[asyncio.Task[None]] = set()

    def use(self, prepared: "Prepared") -> None:
        stores = self._proxy.services.stores
        wanted = stores if stores.shared and prepared.config.rest is not None else None
        if wanted is self._stores:
            return
        if self._following is not None:
            dismiss([self._following], self._ended)
            self._following = None
        self._stores = wanted
        if wanted is not None:
            self._following = asyncio.get_running_loop().create_task(self._follow(wanted), name="lifecycle")

    async def close(self) -> None:
        await cancel([*self._ended, *([self._following] if self._following else [])])

    @property
    def stopped(self) -> frozenset[str]:
        """Ids of servers."""
        return self.wishes.stopped

    async def learn(self) -> None:
        """What the other workers of this pod know; before the first configuration."""
        for known in (await self._proxy.services.siblings.ask("/wishes", Wishes)).by_worker.values():
            await self.hear(known)

    def without_stopped(self, prepared: "Prepared") -> "Prepared":
        """What is left to be run of a configuration."""
        stopped = self.stopped
        if not stopped:
            return prepared
        kept = {key: server for key, server in prepared.resolved.items() if key not in stopped}
        return replace(prepared, resolved=kept)

    async def act(self, action: Action, server: str) -> None:
        """Do it to the server of that id, in all workers, and with Redis in all replicas; return when it is done here, and in
        the other workers unless one takes long.

        Raises:
            StoreUnavailable: Redis cannot be reached; nothing was done.
        """
        stores = self._proxy.services.stores
        if stores.shared:
            if action != "restart":
                await self._remember(stores, server, stopped=action == "stop")
            message = json.dumps({"action": action, "server": server, "by": self._proxy.holder.instance})
            await stores.keyvalue.publish(CHANNEL, message.encode())
        tell = self._proxy.services.siblings.tell
        if action != "restart":
            self._wish(server, stopped=action == "stop")
            await asyncio.gather(self._proxy.show_anew(), tell("/wishes", self.wishes, again=True))
        elif stores.shared:  # they have heard of it
            await self.restart(server)
        else:
            await asyncio.gather(self.restart(server), tell(f"/restart?{urlencode({'server': server})}", again=False))

    async def _remember(self, stores: "Stores", server: str, *, stopped: bool) -> None:
        if stopped:
            await stores.keyvalue.put(STOPPED + server, b"1")
        else:
            await stores.keyvalue.delete(STOPPED + server)

    def _wish(self, server: str, *, stopped: bool) -> None:
        logger.info("server: %s", "stop" if stopped else "start", extra={"server": server})
        self.wishes = self.wishes.wishing(server, stopped=stopped, by=self._proxy.holder.instance)

    async def hear(self, wishes: Wishes) -> None:
        """What another worker of this pod knows; return when it is done."""
        before, self.wishes = self.stopped, self.wishes.merged(wishes)
        if before != self.stopped:
            logger.info("servers stopped, by another worker's word", extra={"servers": sorted(self.stopped)})
            await self._proxy.show_anew()

    async def restart(self, server: str) -> None:
        """Anew in this worker. Raises TimeoutError."""
        logger.info("server: restart", extra={"server": server})
        state = self._proxy.state
        shared = state.backends.get(server) if state is not None else None
        of_users = self._proxy.services.users.instances.of(server)
        await asyncio.gather(*(self._renew(backend) for backend in ([shared] if shared else of_users)))

    async def _renew(self, backend: "Backend") -> None:
        if backend.host is not None:
            await restart(backend.host, RESTART_SECONDS)
        else:
            backend.forget_era()
        backend.gate.retry_now()
        backend.nudge()

    # What others say

    async def _follow(self, stores: "Stores") -> None:
        async for message in stores.keyvalue.subscribe(CHANNEL):
            try:
                if message is None:
                    await self._catch_up(stores)
                else:
                    await self._heard(json.loads(message))
            except (StoreUnavailable, ValueError) as error:
                logger.warning("what was said of a server is not known", extra={"error": type(error).__name__})

    async def _catch_up(self, stores: "Stores") -> None:
        keys = await stores.keyvalue.keys(STOPPED)
        await self._wanted(frozenset(key.removeprefix(STOPPED) for key in keys))

    async def _wanted(self, stopped: frozenset[str]) -> None:
        if others := stopped ^ self.stopped:
            for server in sorted(others):
                self._wish(server, stopped=server in stopped)
            await self._proxy.show_anew()

    async def _heard(self, message: Any) -> None:
        action, server = message.get("action"), message.get("server")
        if message.get("by") == self._proxy.holder.instance or not isinstance(server, str):
            return
        if action == "restart":
            with contextlib.suppress(TimeoutError):
                await self.restart(server)
        elif action in ("start", "stop"):
            await self._wanted(self.stopped | {server} if action == "stop" else self.stopped - {server})
