"""Gateways to look at: real ones, in front of real servers.

async with small_world() as world:
    world.gateway.base
"""

import contextlib
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastmcp import FastMCP

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.pinning.judge import pins_of
from support.backends import ServedApp, ServedMCP, dead_port
from support.gateway import Gateway, running_gateway
from support.scripted import Scripted

ALICE, OPS = "alice-" + "a" * 14, "ops-" + "o" * 16
SECRETS: Final = {"alice": ALICE, "ops": OPS}
AUTH: Final[dict[str, Any]] = {
    "auth": {"apiKeys": [{"name": name, "secret": {"file": name}} for name in SECRETS]},
    "inspector": {"operators": ["ops"]},
}
MARKUP: Final = "<img src=x onerror=\"document.title='taken over'\"><script>document.title='taken over'</script>"
TEAMS: Final = (
    "billing",
    "data",
    "design",
    "finance",
    "platform",
    "research",
    "sales",
    "search",
    "security",
    "support",
)
KINDS: Final = ("postgres", "github", "weather", "jira", "files", "grafana", "mail", "calendar", "metrics", "wiki")
NOISY: Final = {"command": sys.executable, "args": [str(Path(__file__).parent / "noisy.py")]}


def weather() -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("Weather", version="2.4.0", instructions="Ask for a forecast by the name of a place.")

    @mcp.tool(annotations={"readOnlyHint": True})
    def forecast(place: str, days: int = 3) -> dict[str, Any]:
        """The weather of the next days at a place."""
        return {"place": place, "days": [{"day": day, "celsius": 14 + day} for day in range(days)]}

    @mcp.tool(annotations={"readOnlyHint": True})
    def warnings(region: str) -> list[str]:
        """Official warnings for a region."""
        raise ValueError(f"no region {region!r}")

    @mcp.prompt
    def packing(place: str) -> str:
        """What to pack."""
        return f"What should I pack for {place}?"

    @mcp.resource("weather://stations")
    def stations() -> str:
        """All stations."""
        return "[]"

    return mcp


def files(description: str = "Reads a file of the project.") -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("Files", version="0.9.1")

    @mcp.tool(description=description)
    def read(path: str) -> str:
        return path

    @mcp.tool
    def search(pattern: str) -> list[str]:
        """Finds lines."""
        return [pattern]

    return mcp


def hostile() -> FastMCP[Any]:
    """A server all of whose texts are markup."""
    mcp: FastMCP[Any] = FastMCP(f"Hostile {MARKUP}", version="1", instructions=MARKUP)

    @mcp.tool(description=MARKUP)
    def innocent(text: str = MARKUP) -> str:
        return MARKUP

    return mcp


@dataclass
class World:
    gateway: Gateway
    served: dict[str, ServedMCP]
    config: dict[str, Any]

    async def apply(self, **changes: Any) -> None:
        """Swap to a configuration with these changes."""
        self.config = {**self.config, **changes}
        await self.gateway.proxy.apply(made(self.config), SECRETS)

    def server(self, server_id: str) -> dict[str, Any]:
        found: dict[str, Any] = next(one for one in self.config["servers"] if one["id"] == server_id)
        return found


def made(config: dict[str, Any]) -> ProxyConfig:
    """With a revision that says what is in it."""
    revision = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    return ProxyConfig.model_validate({"revision": revision, **config})


def routed(servers: list[dict[str, Any]]) -> dict[str, Any]:
    """These servers, all on /mcp, prefixed with their names."""
    entries = [{"server": one["id"], "prefix": one["id"].partition("/")[2]} for one in servers]
    return {"servers": servers, "routes": [{"name": "McpProxy/tools/main", "path": "/mcp", "servers": entries}]}


@contextlib.asynccontextmanager
async def small_world(**more: Any) -> AsyncIterator[World]:
    """A few servers in different states; `more` are members of the configuration."""
    async with contextlib.AsyncExitStack() as stack:
        makers = {"team-a/weather": weather, "team-a/files": files, "team-b/hostile": hostile}
        served = {name: await stack.enter_async_context(ServedMCP(make())) for name, make in makers.items()}
        servers: list[dict[str, Any]] = [{"id": name, "url": one.url} for name, one in served.items()]
        servers += [
            {"id": "team-b/noisy", "stdio": NOISY},
            {"id": "team-c/away", "url": f"http://127.0.0.1:{dead_port()}/mcp"},
        ]
        config = {"inspector": {}, **routed(servers), **more}
        gateway = await stack.enter_async_context(running_gateway(made(config), SECRETS))
        yield World(gateway, served, config)


def named(number: int) -> str:
    """The id of a server of the large world."""
    return f"{TEAMS[number % len(TEAMS)]}/{KINDS[number // 7 % len(KINDS)]}-{number:04}"


@contextlib.asynccontextmanager
async def large_world(count: int = 1000, **more: Any) -> AsyncIterator[World]:
    """So many servers, named by `named`, at three addresses: every twentieth is away, and number 10 is the weather."""
    async with contextlib.AsyncExitStack() as stack:
        served = {"weather": await stack.enter_async_context(ServedMCP(weather()))}
        quick = await stack.enter_async_context(ServedApp(Scripted().app))
        away = f"http://127.0.0.1:{dead_port()}/mcp"
        places = [away if number % 20 == 0 else quick.url for number in range(count)]
        places[10] = served["weather"].url
        patience = {"connectTimeoutSeconds": 120, "callTimeoutSeconds": 120}
        servers = [{"id": named(number), "url": url, **patience} for number, url in enumerate(places)]
        config = {"inspector": {}, **routed(servers), **more}
        gateway = await stack.enter_async_context(running_gateway(made(config), SECRETS, warm_seconds=1))
        yield World(gateway, served, config)


async def pinned(world: World, server_id: str) -> None:
    """Approve what a server has now, and enforce that."""
    assert world.gateway.proxy.state is not None
    pins = pins_of(world.gateway.proxy.state.backends[server_id].catalogue.tools)
    entry = {**world.server(server_id), "pinning": "enforce", "pins": [pin.model_dump() for pin in pins]}
    await world.apply(servers=[entry if one["id"] == server_id else one for one in world.config["servers"]])
