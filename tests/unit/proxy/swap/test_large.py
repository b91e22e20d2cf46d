"""A swap of many servers at once, while clients call: over one near-free backend that stands for all of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bench.backend import Backend, _Connection
from mcp_operator_proxy.config import ProxyConfig
from support.backends import client, eventually
from support.gateway import Gateway, make_config, running_gateway

MANY = 60
TOOLS = 5


@pytest.fixture
async def base() -> AsyncIterator[str]:
    backend = Backend(tools=TOOLS)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(backend), "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


def many(base: str, *names: str, **more: Any) -> ProxyConfig:
    return make_config({name: f"{base}/{name}/mcp" for name in names}, **more)


class Callers:
    """Clients of both eras that call one tool without pause; a failed call fails the test."""

    def __init__(self, gateway: Gateway) -> None:
        self.calls = [0, 0]
        self._gateway = gateway
        self._stop = asyncio.Event()

    async def _call(self, number: int, mode: str) -> None:
        async with client(self._gateway.url, mode) as through:
            while not self._stop.is_set():
                assert (await through.call_tool("keep_echo", {})).content[0].text == "x"
                self.calls[number] += 1

    async def more(self) -> None:
        """Wait until each has been answered again."""
        before = list(self.calls)
        await eventually(lambda: all(now > then for now, then in zip(self.calls, before, strict=True)))

    async def __aenter__(self) -> "Callers":
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        for number, mode in enumerate(("legacy", "auto")):
            self._group.create_task(self._call(number, mode))
        await self.more()
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._stop.set()
        await self._group.__aexit__(*error)


async def test_unchanged_servers_stay_and_calls_go_on_while_many_come_change_and_go(base: str) -> None:
    names = [f"s{number:02}" for number in range(MANY)]
    async with running_gateway(many(base, "keep")) as gateway, Callers(gateway) as callers:
        proxy = gateway.proxy

        def shown() -> set[str]:
            assert proxy.state is not None
            return set(proxy.state.table["/mcp"].tools)

        kept = proxy.state.backends["ns/keep"] if proxy.state else None
        await proxy.apply(many(base, "keep", *names))
        await eventually(lambda: len(shown()) == TOOLS * (MANY + 1))
        await callers.more()
        assert proxy.state is not None
        assert proxy.state.backends["ns/keep"] is kept
        before = dict(proxy.state.backends)

        entries = [{"server": "ns/keep", "prefix": "keep"}]
        entries += [{"server": f"ns/{name}", "prefix": name, "tools": {"exclude": ["echo"]}} for name in names]
        route = {"name": "McpProxy/ns/tools", "path": "/mcp", "servers": entries}
        await proxy.apply(many(base, "keep", *names, routes=[route]))
        assert len(shown()) == TOOLS + (TOOLS - 1) * MANY, "all that is known is in use with the swap itself"
        assert dict(proxy.state.backends) == before
        await callers.more()

        await proxy.apply(many(base, "keep"))
        assert len(shown()) == TOOLS
        await callers.more()
        gone = [backend for key, backend in before.items() if key != "ns/keep"]
        await eventually(lambda: all(backend._task.done() for backend in gone))
        assert proxy.state.backends["ns/keep"] is kept
        assert not proxy._unstarted


async def test_servers_that_are_gone_before_they_were_started_are_never_started(base: str) -> None:
    async with running_gateway(many(base, "keep"), warm_seconds=0) as gateway:
        proxy = gateway.proxy
        await proxy.apply(many(base, "keep", *(f"s{number:02}" for number in range(MANY))))
        assert proxy.state is not None
        gone = [backend for key, backend in proxy.state.backends.items() if key != "ns/keep"]
        await proxy.apply(many(base, "keep"))
        await eventually(lambda: all(backend._task is None or backend._task.done() for backend in gone))
        assert not proxy._unstarted
