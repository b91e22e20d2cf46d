"""A proxy in front of a scripted server, with a client that writes its requests itself."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from support.backends import ServedApp, eventually
from support.gateway import Gateway, make_config, running_gateway
from support.rawclient import Front, RawClient, raw_client
from support.scraped import Scrape, scraped
from support.scripted import Scripted

EXECUTIONS, SECONDS = "mcp_tool_executions_total", "mcp_tool_execution_duration_seconds_count"
UNTIMED = {"denied", "limited", "refused", "unfinished"}


@dataclass
class Calling:
    gateway: Gateway
    raw: RawClient
    scripted: Scripted
    lane: bool
    served: ServedApp

    async def ended(self, tool: str, status: str, count: float = 1) -> Scrape:
        """Wait until a tool has so many calls of one status, and no others."""

        async def there() -> Scrape | None:
            found = await scraped(self.gateway)
            return found if found.by(EXECUTIONS, "status", tool_id=f"a.{tool}") == {status: count} else None

        found: Scrape = await eventually(there)
        assert found.value(SECONDS, tool_id=f"a.{tool}") == (0 if status in UNTIMED else count)
        return found


@contextlib.asynccontextmanager
async def calling(
    front: Front, *, lane: bool, secrets: dict[str, str] | None = None, **more: Any
) -> AsyncIterator[Calling]:
    """A scripted server `a` whose era is the front's, so that the lane takes what it can."""
    scripted = Scripted(front)
    async with (
        ServedApp(scripted.app) as served,
        running_gateway(make_config({"a": served.url}, **more), secrets) as gateway,
    ):
        gateway.proxy.lane.enabled = lane
        headers = {"authorization": f"Bearer {secrets['key']}"} if secrets else {}
        async with raw_client(gateway.url, front, headers=headers) as raw:
            yield Calling(gateway, raw, scripted, lane, served)


WAYS = pytest.mark.parametrize(("front", "lane"), [(f, on) for f in ("legacy", "modern") for on in (True, False)])
