"""A real proxy on a loopback port, and configurations for it.

async with running_gateway(make_config({"time": served.url})) as gateway:
    async with client(gateway.url) as through: …
"""

import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.serve import running


def make_config(urls: dict[str, str], *, prefixes: dict[str, str] | None = None, **more: Any) -> ProxyConfig:
    """Servers `ns/<name>` at `urls`, all on the route /mcp; the prefix is the name unless `prefixes` says otherwise.

    `server` are settings of all servers, `each` those of one by its name. Servers have more time to be connected to than by
    default, as on a busy machine it takes.
    """
    patient = {"connectTimeoutSeconds": 30, **more.get("server", {})}
    each = more.get("each", {})
    servers = [{"id": f"ns/{name}", "url": url, **patient, **each.get(name, {})} for name, url in urls.items()]
    entries = [{"server": f"ns/{name}", "prefix": (prefixes or {}).get(name, name)} for name in urls]
    data: dict[str, Any] = {
        "servers": servers,
        "routes": more.get("routes") or [{"name": "McpProxy/ns/tools", "path": "/mcp", "servers": entries}],
        **{key: value for key, value in more.items() if key not in ("server", "each", "routes")},
    }
    revision = data.pop("revision", None) or hashlib.sha256(json.dumps(data).encode()).hexdigest()[:12]
    return ProxyConfig.model_validate({"revision": revision, **data})


@dataclass
class Gateway:
    """A running proxy."""

    proxy: Proxy
    base: str
    http: httpx2.AsyncClient

    @property
    def url(self) -> str:
        return f"{self.base}/mcp"

    async def metric(self, series: str) -> float:
        """The value of the first series that begins so."""
        text = (await self.get("/metrics")).text
        return float(next(line for line in text.splitlines() if line.startswith(series)).rpartition(" ")[2])

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self.http.get(self.base + path, **options)


@contextlib.asynccontextmanager
async def running_gateway(
    config: ProxyConfig | None = None,
    secrets: dict[str, str] | None = None,
    *,
    warm_seconds: float = 20,
    **options: Any,
) -> AsyncIterator[Gateway]:
    """`options` are the Proxy's."""
    async with Proxy(warm_seconds=warm_seconds, **options) as proxy, httpx2.AsyncClient(timeout=40) as http:
        if config is not None:
            await proxy.apply(config, secrets)
        async with running(proxy, "127.0.0.1", 0, grace_seconds=2) as server:
            yield Gateway(proxy, f"http://127.0.0.1:{server.port}", http)
