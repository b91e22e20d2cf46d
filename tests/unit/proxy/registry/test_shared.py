# ruff: noqa: SIM117 - nested, in the order in which they start
"""What replicas tell each other through a real Redis, and that each works alone where there is none."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from fastmcp import FastMCP

from mcp_operator_proxy.egress import Egress
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.registry import availability
from mcp_operator_proxy.registry.availability import KEEP_SECONDS, Availability, Seen, newest, read
from mcp_operator_proxy.stores.memory import MemoryStore
from mcp_operator_proxy.stores.redis import RedisStore
from mcp_operator_proxy.table import Entry, RouteTable
from support.backends import ServedMCP, eventually
from support.gateway import Gateway, make_config, running_gateway
from support.stores import Redis, running_redis
from unit.proxy.registry.conftest import Endpoint

SECRETS = {"encryption": "k" * 48, "key": "an-embedding-key"}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "EVERY_SECONDS", 0.02)


def some(**tools: str) -> FastMCP[Any]:
    mcp: FastMCP[Any] = FastMCP("some")
    for name, about in tools.items():
        mcp.tool(lambda: "", name=name, description=about)
    return mcp


@contextlib.asynccontextmanager
async def replica(url: str, redis: str, endpoint: Endpoint | None = None) -> AsyncIterator[Gateway]:
    more: dict[str, Any] = {"stores": {"redis": {"file": "redis"}, "encryptionKeys": [{"file": "encryption"}]}}
    if endpoint is not None:
        more["search"] = {"embedder": {"url": endpoint.url, "model": "m", "key": {"file": "key"}}}
    async with running_gateway(make_config({"s": url}, **more), {**SECRETS, "redis": redis}) as gateway:
        yield gateway


async def test_embeddings_are_made_once_for_all_replicas(redis_server: Redis, served_endpoint: Endpoint) -> None:
    mcp = some(send="Send a letter", read="Read a letter", burn="Burn a letter")
    async with ServedMCP(mcp) as served:
        async with replica(served.url, redis_server.url, served_endpoint) as one:
            first = await one.proxy.services.registry.search("post something")
            assert [len(request["input"]) for request in served_endpoint.requests] == [3, 1]
            await one.proxy.services.registry.search("post something")
            assert len(served_endpoint.requests) == 2
        async with replica(served.url, redis_server.url, served_endpoint) as two:
            second = await two.proxy.services.registry.search("post something")
            assert [len(request["input"]) for request in served_endpoint.requests] == [3, 1, 1]
            assert [(hit.tool.document.id, hit.score) for hit in first] == [
                (hit.tool.document.id, hit.score) for hit in second
            ]
    assert set(served_endpoint.keys) == {"Bearer an-embedding-key"}


async def test_without_the_store_a_replica_works_alone(served_endpoint: Endpoint) -> None:
    with running_redis() as redis:
        url = redis.url
    async with ServedMCP(some(send="Send a letter", read="Read a letter")) as served:
        async with replica(served.url, url, served_endpoint) as gateway:
            registry = gateway.proxy.services.registry
            assert len(await registry.search("post something")) == 2
            assert all(tool.available for tool in registry.tools())


async def test_an_endpoint_where_nothing_may_be_connected_to_is_not_asked(served_endpoint: Endpoint) -> None:
    config = make_config({}, search={"embedder": {"url": served_endpoint.url, "model": "m"}})
    async with Proxy(egress=Egress()) as proxy:
        await proxy.apply(config)
        assert proxy.state is not None
        table = RouteTable("r", "/mcp", {"x": Entry("ns/s", "x", {"name": "x", "description": "a letter"})})
        proxy.state = replace(proxy.state, table={"/mcp": table})
        proxy.services.registry.moved()
        found = await proxy.services.registry.search("letter", unavailable=True)
        assert [hit.tool.document.id for hit in found] == ["ns/s.x"]
        report = proxy.status().search
        assert report is not None
        assert report.embeddings == "none"
        assert "loopback" in (report.problem or "")
        assert served_endpoint.requests == []


async def test_replicas_agree_on_which_servers_answer(redis_server: Redis) -> None:
    sees = {"one": {"ns/a": True}, "two": {"ns/a": True}}
    store = RedisStore(redis_server.url, prefix="agree:")
    one = Availability("one", lambda: sees["one"], lambda: store)
    two = Availability("two", lambda: sees["two"], lambda: store)
    one.start()
    two.start()
    try:
        assert one.up() == two.up() == {"ns/a": True}
        sees["one"] = {"ns/a": False}
        assert one.up() == {"ns/a": False}
        await eventually(lambda: two.up() == {"ns/a": False})
        sees["one"] = {"ns/a": True}
        assert one.up() == {"ns/a": True}
        await eventually(lambda: two.up() == {"ns/a": True})
        sees["two"] = {"ns/a": False}
        await eventually(lambda: two.up() == one.up() == {"ns/a": False})
        await two.close()
        sees["one"] = {}
        assert one.up() == {}
    finally:
        await one.close()
        await two.close()
        await store.close()


async def test_what_a_replica_said_is_forgotten_when_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "KEEP_SECONDS", 0.3)
    monkeypatch.setattr(availability, "REPEAT_SECONDS", 0.05)
    store, sees = MemoryStore(), {"two": True}
    one = Availability("one", lambda: {"ns/a": True}, lambda: store)
    two = Availability("two", lambda: {"ns/a": sees["two"]}, lambda: store)
    one.start()
    two.start()
    try:
        assert one.up() == two.up() == {"ns/a": True}
        sees["two"] = False
        await eventually(lambda: one.up() == {"ns/a": False})
        await two.close()
        await eventually(lambda: one.up() == {"ns/a": True})
    finally:
        await one.close()
        await store.close()


OLD, NEW = Seen(True, 1.0, "a"), Seen(False, 2.0, "b")


@pytest.mark.parametrize(
    ("mine", "theirs", "holds"),
    [(OLD, NEW, NEW), (NEW, OLD, NEW), (None, OLD, OLD), (OLD, None, OLD), (None, None, None)],
)
def test_the_newest_change_holds(mine: Seen | None, theirs: Seen | None, holds: Seen | None) -> None:
    assert newest(mine, theirs) == holds


@pytest.mark.parametrize(
    "value", [None, b"", b"x", b"7", b"[1,2]", b'[1,2,"a"]', b'[true,"x","a"]', b'[true,1e99,"a"]']
)
def test_what_is_no_word_of_a_replica_is_passed_over(value: bytes | None) -> None:
    assert read(value, 100.0) is None


def test_a_word_of_a_replica() -> None:
    assert read(NEW.encode(), 100.0) == NEW
    assert read(Seen(True, 100.0 + KEEP_SECONDS + 1, "a").encode(), 100.0) is None
