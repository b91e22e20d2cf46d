"""The services of one proxy, for its whole life: what a configuration changes of them is changed by `use`."""

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from mcp_operator_proxy.authn.issuers import Issuers
from mcp_operator_proxy.inspector.service import Inspector
from mcp_operator_proxy.registry.registry import Registry
from mcp_operator_proxy.services.audit import Audit
from mcp_operator_proxy.services.bridgelogs import BridgesLogs
from mcp_operator_proxy.services.credentials.source import Credentials
from mcp_operator_proxy.services.lifecycle import Lifecycle
from mcp_operator_proxy.services.limits import Limits
from mcp_operator_proxy.services.notices import Notices, Processes
from mcp_operator_proxy.services.rest.service import Rest
from mcp_operator_proxy.services.settings import StoreSettings
from mcp_operator_proxy.services.stores import Stores
from mcp_operator_proxy.services.users.sessions import UserSessions
from mcp_operator_proxy.tasks import cancel, spawn
from mcp_operator_proxy.tracing.service import Tracing
from mcp_operator_proxy.workers.siblings import Siblings

if TYPE_CHECKING:
    from mcp_operator_proxy.proxy import Proxy
    from mcp_operator_proxy.swap.prepared import Prepared

RETIRE_SECONDS: Final = 30.0
"""What began with stores that a swap replaced has so long to end."""


class Service(Protocol):
    """One of them. It begins with the proxy and ends with it."""

    def use(self, prepared: "Prepared") -> None:
        """A configuration is in use from now on. Nothing waits here: what takes time is a task of the service's own."""
        ...

    async def close(self) -> None: ...


class Services:
    """`stores` are those of the configuration in use; ask for them anew each time."""

    def __init__(self, proxy: "Proxy") -> None:
        self.proxy = proxy
        self.stores = Stores(StoreSettings())
        self.issuers = Issuers(proxy)
        self.credentials = Credentials(proxy)
        self.users = UserSessions(proxy)
        self.credentials.subscribe(self.users.instances.credential_changed)
        self.registry = Registry(proxy)
        self.limits = Limits(proxy)
        self.audit = Audit(proxy)
        self.siblings = Siblings(proxy.holder)
        self.lifecycle = Lifecycle(proxy)
        self.bridges_logs = BridgesLogs()
        self.rest = Rest(proxy)
        self.inspector = Inspector(proxy)
        self.tracing = Tracing(proxy)
        self.notices = Notices(proxy)
        self.processes = Processes(self.notices, proxy.holder.instance, proxy)
        self._all: tuple[Service, ...] = (
            self.tracing,  # the last to close
            self.notices,
            self.audit,
            self.limits,
            self.issuers,
            self.credentials,
            self.users,
            self.registry,
            self.lifecycle,
            self.bridges_logs,
            self.rest,
            self.inspector,
        )
        self._retiring: set[asyncio.Task[None]] = set()

    def use(self, prepared: "Prepared") -> None:
        """Called by the swap, in the step in which the configuration comes into use."""
        if prepared.stores != self.stores.settings:
            old, self.stores = self.stores, Stores(prepared.stores)
            spawn(_retire(old), self._retiring)
        for service in self._all:
            service.use(prepared)

    async def close(self) -> None:
        for service in reversed(self._all):
            await service.close()
        await self.siblings.close()
        retiring = list(self._retiring)
        await cancel(retiring)
        await self.stores.close()


async def _retire(stores: Stores) -> None:
    try:
        await asyncio.sleep(RETIRE_SECONDS)
    finally:
        await stores.close()
