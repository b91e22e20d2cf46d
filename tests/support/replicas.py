"""Several proxies that share a signing key, as the replicas of a Deployment do, each with its two listeners on loopback.

async with running_replicas(2, config, SECRETS) as (a, b):
    opened at a.url, used at b.url
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx2

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.serve import listen, running
from mcp_operator_proxy.sessions.forward import Forwarder
from mcp_operator_proxy.sessions.holder import Holder
from mcp_operator_proxy.sessions.peers import Peers

SIGNED: dict[str, Any] = {"sessions": {"signingKeys": [{"file": "session-key"}]}}
"""For `make_config`."""
SECRETS = {"session-key": "k" * 32}
ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "t", "version": "1"},
    },
}


@dataclass
class Replica:
    proxy: Proxy
    port: int
    address: str
    """Of the internal listener."""
    _stack: contextlib.AsyncExitStack = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def held(self, path: str = "/mcp") -> int:
        return len(self.proxy.endpoints[path].sessions)

    async def stop(self) -> None:
        """End in order; both ports refuse connections from then on."""
        await self._stack.aclose()


@contextlib.asynccontextmanager
async def running_replicas(
    count: int, config: ProxyConfig, secrets: dict[str, str] | None = None, *, grace_seconds: int = 2
) -> AsyncIterator[list[Replica]]:
    sockets = [listen("127.0.0.1", 0) for _ in range(count)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    async with contextlib.AsyncExitStack() as all_of_them:
        replicas = []
        for address, internal in zip(addresses, sockets, strict=True):
            stack = await all_of_them.enter_async_context(contextlib.AsyncExitStack())
            holder = Holder(address, forwarder=Forwarder(Peers(address, siblings=addresses)))
            proxy = await stack.enter_async_context(Proxy(warm_seconds=20, holder=holder))
            await proxy.apply(config, SECRETS if secrets is None else secrets)
            server = await stack.enter_async_context(
                running(proxy, "127.0.0.1", 0, grace_seconds=grace_seconds, internal=internal)
            )
            replicas.append(Replica(proxy, server.port, address, stack))
        yield replicas


class Served(Protocol):
    @property
    def url(self) -> str: ...


class Wire:
    """A client of one session that sends each request wherever it is told."""

    def __init__(self, http: httpx2.AsyncClient, **headers: str) -> None:
        self._http = http
        self.headers = {**ACCEPT, **headers}

    async def open(self, replica: Served) -> str:
        response = await self._http.post(replica.url, json=INITIALIZE, headers=self.headers)
        assert response.status_code == 200, response.text
        self.headers["mcp-session-id"] = response.headers["mcp-session-id"]
        accepted = await self.post(replica, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert accepted.status_code == 202
        return self.headers["mcp-session-id"]

    async def post(self, replica: Served, message: dict[str, Any]) -> httpx2.Response:
        return await self._http.post(replica.url, json=message, headers=self.headers)

    async def ask(self, replica: Served, method: str, **params: Any) -> httpx2.Response:
        return await self.post(replica, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})

    async def delete(self, replica: Served) -> httpx2.Response:
        return await self._http.delete(replica.url, headers=self.headers)

    def listening(self, replica: Served) -> contextlib.AbstractAsyncContextManager[httpx2.Response]:
        """The standing GET stream."""
        return self._http.stream("GET", replica.url, headers=self.headers)
