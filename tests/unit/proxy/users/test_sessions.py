"""Sessions of users: begun, renewed, found, used, ended; in memory and in Redis, by several replicas."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.config.services import Users
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.services.credentials.token import Token
from mcp_operator_proxy.services.users.record import key_of
from mcp_operator_proxy.services.users.sessions import TooManySessions, UserSessions
from mcp_operator_proxy.stores.keyvalue import StoreUnavailable
from mcp_operator_proxy.stores.records.models import UserSession
from support.backends import eventually, free_port
from support.stores import Postgres, Redis, running_redis

KEY = "k" * 40


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def config(revision: str = "1", *, shared: bool = False, **users: Any) -> ProxyConfig:
    stores = {"redis": {"file": "redis"}, "database": {"file": "db"}, "encryptionKeys": [{"file": "key"}]}
    return ProxyConfig.model_validate(
        {"revision": revision, "rest": {}, "stores": stores if shared else {}, "users": users}
    )


class Replicas:
    """Proxies that share their stores, with one clock."""

    def __init__(self, stack: AsyncExitStack, secrets: dict[str, str] | None) -> None:
        self._stack = stack
        self.secrets = secrets
        self.clock = Clock()

    async def more(self, **users: Any) -> Proxy:
        proxy = await self._stack.enter_async_context(Proxy())
        proxy.services.users._clock = self.clock
        await proxy.apply(config(shared=self.secrets is not None, **users), self.secrets or {})
        return proxy


@pytest.fixture(params=["memory", "shared"])
async def replicas(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Replicas]:
    secrets = None
    if request.param == "shared":
        redis: Redis = request.getfixturevalue("redis_server")
        secrets = {"redis": redis.url, "db": f"sqlite:///{tmp_path}/records.db", "key": KEY}
    async with AsyncExitStack() as stack:
        yield Replicas(stack, secrets)


async def rows(users: UserSessions) -> dict[str, str | None]:
    """How each session of the records ended, by its digest."""
    async with (await users._proxy.services.stores.records()).transaction() as session:
        return {row.id: row.ended_why for row in await session.scalars(select(UserSession))}


async def test_a_session_lives_from_its_start_to_its_end(replicas: Replicas) -> None:
    users = (await replicas.more()).services.users
    begun = await users.start("alice", "corp", Token("secret-token"), ["a/mail", "a/mail", "a/files"])
    assert begun.session_id is not None
    assert len(begun.session_id) >= 43, "256 random bits"
    assert (begun.user_id, begun.servers, begun.expires_at - begun.created_at) == (
        "alice",
        ("a/mail", "a/files"),
        28_800,
    )
    assert await users.find("alice", begun.session_id) == begun
    found = await users.find("alice")
    assert found is not None
    assert found.session_id is None, "who does not show the id does not learn it"
    assert await users.find("alice", "x" * 43) is None
    assert await users.find("bob", begun.session_id) is None
    assert [r.user_id for r in await users.list()] == ["alice"]
    assert users.counts.active == 1
    stored = await users._proxy.services.stores.keyvalue.get("session:alice")
    assert stored is not None
    assert b"secret-token" not in stored
    assert begun.session_id.encode() not in stored
    assert await users._proxy.services.credentials.vault.get("alice", "corp") is not None
    assert await users.end("alice") == ("a/files", "a/mail")
    assert await users.find("alice") is None
    assert await users._proxy.services.credentials.vault.get("alice", "corp") is None
    assert await rows(users) == {begun.digest: "ended"}
    assert (users.counts.active, users.counts.created, users.counts.destroyed) == (0, 1, 1)
    assert await users.end("alice") == ()


async def test_a_second_start_renews_the_session_and_the_first_id_is_unknown(replicas: Replicas) -> None:
    users = (await replicas.more()).services.users
    first = await users.start("alice", "corp", Token("one"), ["a/mail"])
    second = await users.start("alice", "corp", Token("two"), ["a/files"])
    assert await users.find("alice", first.session_id) is None
    found = await users.find("alice", second.session_id)
    assert found is not None
    assert found.servers == ("a/files",)
    stored = await users._proxy.services.credentials.vault.get("alice", "corp")
    assert stored is not None
    assert stored.token.access_token == "two"
    assert await rows(users) == {first.digest: "replaced", second.digest: None}
    third = await users.start("alice", "partner", Token("three"))
    assert await users._proxy.services.credentials.vault.get("alice", "corp") is None
    assert third.provider == "partner"


async def test_starts_at_once_leave_one_session(replicas: Replicas) -> None:
    users = (await replicas.more()).services.users
    begun = await asyncio.gather(*(users.start("alice", servers=[f"a/{n}"]) for n in range(8)))
    live = [r for r in begun if await users.find("alice", r.session_id)]
    assert len(live) == 1
    assert sorted(map(str, (await rows(users)).values())) == ["None"] + ["replaced"] * 7
    assert users.counts.active == 1


async def test_an_idle_session_ends_and_a_used_one_goes_on(replicas: Replicas) -> None:
    users = (await replicas.more(idleSeconds=100, ttlSeconds=250)).services.users
    idle, used = await users.start("idle", "corp", Token("t")), await users.start("used", "corp", Token("t"))
    ended: set[str] = set()
    users.on_end.append(lambda user: ended.add(user) or [])  # type: ignore[func-returns-value]
    replicas.clock.now += 90
    users.touch("used")
    await eventually(lambda: not users._tasks)
    replicas.clock.now += 20
    await users.sweep()
    assert await users.find("idle") is None
    assert await users.find("used") is not None
    assert ended == {"idle"}
    assert await rows(users) == {idle.digest: "idle", used.digest: None}
    assert await users._proxy.services.credentials.vault.get("idle", "corp") is None
    assert await users._proxy.services.credentials.vault.get("used", "corp") is not None
    replicas.clock.now += 80
    users._touched.clear()
    users.touch("used")
    await eventually(lambda: not users._tasks)
    replicas.clock.now += 70  # it was used within the idle time, and is too old
    await users.sweep()
    assert ended == {"idle", "used"}
    assert (await rows(users))[used.digest] == "expired"
    assert (users.counts.active, users.counts.destroyed) == (0, 2)


async def test_the_most_sessions(replicas: Replicas) -> None:
    users = (await replicas.more(maxSessions=2)).services.users
    await users.start("a")
    await users.start("b")
    with pytest.raises(TooManySessions, match="there are 2"):
        await users.start("c")
    assert await users.start("b"), "a renewal is no further one"
    assert await users.find("c") is None
    await users.end("a")
    assert await users.start("c")


@pytest.mark.parametrize("replicas", ["shared"], indirect=True)
async def test_any_replica_serves_any_session_and_each_ends_what_it_runs(replicas: Replicas) -> None:
    one, other = [(await replicas.more(idleSeconds=100)).services.users for _ in range(2)]
    ended: list[tuple[str, str]] = []
    one.on_end.append(lambda user: ended.append(("one", user)) or [])  # type: ignore[func-returns-value]
    other.on_end.append(lambda user: ended.append(("other", user)) or [])  # type: ignore[func-returns-value]
    await eventually(lambda: _listeners(one, 2))
    alice = await one.start("alice")
    assert await other.find("alice", alice.session_id) == alice
    await other.end("alice")
    assert await one.find("alice", alice.session_id) is None
    await eventually(lambda: sorted(ended) == [("one", "alice"), ("other", "alice"), ("other", "alice")])
    ended.clear()
    bob = await one.start("bob")
    await other.find("bob")
    replicas.clock.now += 101
    await asyncio.gather(one.sweep(), other.sweep())
    await eventually(lambda: {("one", "bob"), ("other", "bob")} <= set(ended))
    await asyncio.gather(one.sweep(), other.sweep())
    assert (await rows(one))[bob.digest] == "idle"
    assert one.counts.destroyed + other.counts.destroyed == 2, "each once"


async def test_a_swap_keeps_what_looks_for_ends_where_its_stores_and_times_stay(replicas: Replicas) -> None:
    proxy = await replicas.more(idleSeconds=100)
    users, shared = proxy.services.users, replicas.secrets is not None

    async def swap(revision: str, **settings: Any) -> list[asyncio.Task[None]]:
        await proxy.apply(config(revision, shared=shared, **settings), replicas.secrets or {})
        return list(users._standing)

    begun = list(users._standing)
    assert len(begun) == 2
    assert await swap("2", idleSeconds=100, maxSessions=7) == begun
    assert not any(task.done() or task.cancelling() for task in begun)
    anew = await swap("3", idleSeconds=50)
    assert len(anew) == 2
    assert not set(anew) & set(begun)
    await eventually(lambda: all(task.done() for task in begun))
    await proxy.apply(ProxyConfig(revision="4"), {})
    assert users._standing == []
    await eventually(lambda: all(task.done() for task in anew))
    assert len(await swap("5", idleSeconds=50)) == 2


async def _listeners(users: UserSessions, count: int) -> bool:
    redis = users._proxy.services.stores.keyvalue._redis  # type: ignore[attr-defined]
    return bool((await redis.pubsub_numsub("mcp:user-sessions"))[0][1] == count)


async def test_postgresql_keeps_the_records(redis_server: Redis, postgres_server: Postgres) -> None:
    secrets = {"redis": redis_server.url, "db": postgres_server.new_database(), "key": KEY}
    async with AsyncExitStack() as stack:
        replicas = Replicas(stack, secrets)
        one, other = [(await replicas.more(maxSessions=3)).services.users for _ in range(2)]
        begun = await asyncio.gather(*(users.start(f"pg-{n % 3}") for n in range(6) for users in (one, other)))
        assert sum(why is None for why in (await rows(one)).values()) == 3
        assert len(begun) == 12
        await asyncio.gather(*(one.end(f"pg-{n}") for n in range(3)))
        assert one.counts.active == 0
        assert one.counts.created + other.counts.created == one.counts.destroyed + other.counts.destroyed == 12


async def test_a_redis_that_is_away_is_an_error_and_comes_back() -> None:
    port = free_port()
    secrets = {"redis": f"redis://127.0.0.1:{port}/0", "db": "sqlite:///:memory:", "key": KEY}
    async with AsyncExitStack() as stack:
        users = (await Replicas(stack, secrets).more()).services.users
        for attempt in (users.start("alice"), users.find("alice"), users.list(), users.end("alice"), users.sweep()):
            with pytest.raises(StoreUnavailable, match="Redis"):
                await attempt
        users.touch("alice")
        with running_redis(port=port):
            begun = await users.start("alice")
            assert await users.find("alice", begun.session_id) == begun
        with pytest.raises(StoreUnavailable):
            await users.find("alice", begun.session_id)
        with running_redis(port=port):
            assert await users.find("alice", begun.session_id) is None, "it kept nothing, and nobody is anybody else"
            assert await users.start("alice")


async def test_another_users_value_is_nobodys_session(replicas: Replicas) -> None:
    users = (await replicas.more()).services.users
    alice = await users.start("alice")
    keyvalue = users._proxy.services.stores.keyvalue
    value = await keyvalue.get(key_of("alice"))
    assert value is not None
    await keyvalue.put(key_of("bob"), value)
    await keyvalue.put(key_of("eve"), b"{}")
    assert await users.find("bob", alice.session_id) is None
    assert await users.find("eve") is None
    assert [r.user_id for r in await users.list()] == ["alice"]


async def test_metrics(replicas: Replicas) -> None:
    proxy = await replicas.more()
    await proxy.services.users.start("alice")
    text = proxy.metrics.render().decode()
    limit = f"mcp_user_sessions_limit {Users().max_sessions:.1f}"
    for series in (limit, "mcp_user_sessions_active 1.0", "mcp_user_sessions_created_total 1.0"):
        assert series in text
    assert "mcp_user_sessions_destroyed_total 0.0" in text
