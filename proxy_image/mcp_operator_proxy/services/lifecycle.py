"""Servers started, stopped and started anew by those who operate the proxy, beside what the configuration says.

A server that is stopped keeps its place in the configuration, but nothing of it runs: its calls in flight end, then its
connections and processes, and its tools leave the lists. With Redis all workers and replicas do the same, also those that come later.
"""

import asyncio
import contextlib
import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from mcp_operator_proxy.library.processes import RESTART_SECONDS, restart
from mcp_operator_proxy.stores.keyvalue import StoreUnavailable
from mcp_operator_proxy.tasks import cancel

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


class NotShared(Exception):
    """Other workers of this proxy would not hear of it: there is no Redis."""


class Lifecycle:
    """`stopped` are ids of servers. The swap leaves them out."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self.stopped: frozenset[str] = frozenset()
        self._stores: Stores | None = None
        self._following: asyncio.Task[None] | None = None
        self._ended: set[asyncio.Task[None]] = set()

    def use(self, prepared: "Prepared") -> None:
        stores = self._proxy.services.stores
        wanted = stores if stores.shared and prepared.config.rest is not None else None
        if wanted is self._stores:
            return
        if self._following is not None:
            self._following.cancel()
            self._ended.add(self._following)
            self._following.add_done_callback(self._ended.discard)
            self._following = None
        self._stores = wanted
        if wanted is not None:
            self._following = asyncio.get_running_loop().create_task(self._follow(wanted), name="lifecycle")

    async def close(self) -> None:
        await cancel([*self._ended, *([self._following] if self._following else [])])

    def without_stopped(self, prepared: "Prepared") -> "Prepared":
        """What is left to be run of a configuration."""
        if not self.stopped:
            return prepared
        kept = {key: server for key, server in prepared.resolved.items() if key not in self.stopped}
        return replace(prepared, resolved=kept)

    async def act(self, action: Action, server: str) -> None:
        """Do it to the server of that id, here and wherever this proxy runs; return when it is done here.

        Raises:
            NotShared: there are other workers, and no Redis.
            StoreUnavailable: Redis cannot be reached; nothing was done.
        """
        forwarder, stores = self._proxy.holder.forwarder, self._proxy.services.stores
        if forwarder is not None and forwarder.peers.siblings and not stores.shared:
            raise NotShared("several workers serve here, and only with stores.redis do all of them hear of it")
        if stores.shared:
            if action != "restart":
                await self._remember(stores, server, stopped=action == "stop")
            message = json.dumps({"action": action, "server": server, "by": self._proxy.holder.instance})
            await stores.keyvalue.publish(CHANNEL, message.encode())
        await self._do(action, server)

    async def _remember(self, stores: "Stores", server: str, *, stopped: bool) -> None:
        if stopped:
            await stores.keyvalue.put(STOPPED + server, b"1")
        else:
            await stores.keyvalue.delete(STOPPED + server)

    async def _do(self, action: Action, server: str) -> None:
        logger.info("server: %s", action, extra={"server": server})
        if action == "restart":
            await self._restart(server)
            return
        await self._set(self.stopped | {server} if action == "stop" else self.stopped - {server})

    async def _set(self, stopped: frozenset[str]) -> None:
        self.stopped = stopped
        await self._proxy.show_anew()

    async def _restart(self, server: str) -> None:
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
        stopped = frozenset(key.removeprefix(STOPPED) for key in keys)
        if stopped != self.stopped:
            await self._set(stopped)

    async def _heard(self, message: Any) -> None:
        action, server = message.get("action"), message.get("server")
        if message.get("by") == self._proxy.holder.instance or not isinstance(server, str):
            return
        if action in ("start", "stop", "restart"):
            with contextlib.suppress(TimeoutError):
                await self._do(action, server)
