"""The promises of `KeyValue`, held by memory and by a real Redis alike."""

import asyncio
from contextlib import aclosing

import pytest

from mcp_operator_proxy.stores import memory, redis
from mcp_operator_proxy.stores.keyvalue import KeyValue, StoreUnavailable
from mcp_operator_proxy.stores.memory import MemoryStore
from mcp_operator_proxy.stores.redis import RedisStore
from support.stores import running_redis
from support.waiting import Eventually


async def test_what_is_put_is_got(store: KeyValue) -> None:
    value = bytes(range(256))
    await store.put("a", value)
    await store.put("b", b"")
    assert await store.get("a") == value
    assert await store.get("b") == b""
    assert await store.get("c") is None
    assert await store.get_many(["c", "a", "b"]) == [None, value, b""]
    assert await store.get_many([]) == []
    assert await store.delete("a", "c", "a") == 1
    assert await store.get("a") is None
    assert await store.delete() == 0
    await store.ping()


async def test_only_one_adds(store: KeyValue) -> None:
    added = await asyncio.gather(*(store.add("a", b"%d" % number, 60) for number in range(20)))
    assert added.count(True) == 1
    assert await store.get("a") == b"%d" % added.index(True)


async def test_only_one_replaces_what_stands_there(store: KeyValue) -> None:
    assert not await store.replace("a", b"", b"1")
    await store.put("a", b"0")
    done = await asyncio.gather(*(store.replace("a", b"0", b"%d" % number, 60) for number in range(1, 20)))
    assert done.count(True) == 1
    assert await store.get("a") == b"%d" % (done.index(True) + 1)


async def test_values_end_on_time_unless_they_are_touched(store: KeyValue, eventually: Eventually) -> None:
    async def touched_in_time() -> bool:
        await store.put("touched", b"1", 0.05)
        return await store.touch("touched", 60)

    await eventually(touched_in_time)
    await store.put("short", b"1", 0.05)
    await eventually(lambda: _gone(store, "short"))
    assert await store.get("touched") == b"1"
    assert not await store.touch("short", 60)
    assert await store.keys("") == ["touched"]
    await store.put("touched", b"2")
    assert await store.get("touched") == b"2"


async def _gone(store: KeyValue, key: str) -> bool:
    return await store.get(key) is None


async def test_keys_are_found_by_how_they_begin_and_not_by_a_pattern(store: KeyValue) -> None:
    for key in ("session:a", "session:b", "session:*", "sess[i]on", "other"):
        await store.put(key, b"1")
    assert await store.keys("session:") == ["session:*", "session:a", "session:b"]
    assert await store.keys("session:*") == ["session:*"]
    assert await store.keys("sess[i]") == ["sess[i]on"]
    assert await store.keys("nobody") == []


async def test_a_lock_is_held_by_one(store: KeyValue) -> None:
    async with (
        store.lock("refresh", 60) as first,
        store.lock("refresh", 60) as second,
        store.lock("other", 60) as third,
    ):
        assert (first, second, third) == (True, False, True)
    async with store.lock("refresh", 60) as again:
        assert again


async def test_a_lock_whose_holder_died_ends_by_itself(store: KeyValue, eventually: Eventually) -> None:
    async with store.lock("refresh", 0.05) as first:
        assert first

        async def taken_over() -> bool:
            async with store.lock("refresh", 60) as held:
                return held

        await eventually(taken_over)
    async with store.lock("refresh", 60) as held:  # the late holder has released nobody else's
        assert held


async def test_messages_reach_every_subscriber_of_their_channel(store: KeyValue) -> None:
    async with aclosing(store.subscribe("news")) as one, aclosing(store.subscribe("news")) as two:  # type: ignore[type-var]
        assert [await anext(one), await anext(two)] == [None, None]
        await store.publish("other", b"0")
        await store.publish("news", b"1")
        await store.publish("news", b"2")
        assert [[await anext(each) for _ in range(2)] for each in (one, two)] == [[b"1", b"2"], [b"1", b"2"]]
    await store.publish("news", b"nobody hears it")


async def test_a_slow_subscriber_hears_of_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "QUEUED", 3)
    store = MemoryStore()
    async with aclosing(store.subscribe("news")) as slow:  # type: ignore[type-var]
        await anext(slow)
        for number in range(5):
            await store.publish("news", b"%d" % number)
        assert [await anext(slow) for _ in range(3)] == [None, b"3", b"4"]


async def test_memory_does_not_grow_by_what_has_expired() -> None:
    now = 0.0
    store = MemoryStore(clock=lambda: now)
    for number in range(1000):
        now += 1
        await store.put(f"k{number}", b"v", 10)
    assert len(store) <= 10


@pytest.mark.parametrize("url", ["http://localhost/0", "nonsense", ""])
def test_a_url_that_is_none_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ValueError, match="must begin with redis://") as refused:
        RedisStore(url or "://:secret@")
    assert "secret" not in str(refused.value)


async def test_a_redis_that_is_away_is_told_and_comes_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    monkeypatch.setattr(redis, "AGAIN_SECONDS", (0.02, 0.05))
    with running_redis() as server:
        port = int(server.url.rpartition(":")[2].partition("/")[0])
        store = RedisStore(server.url)
        heard: list[bytes | None] = []

        async def listen() -> None:
            async for message in store.subscribe("news"):
                heard.append(message)  # noqa: PERF401 - a watch

        listening = asyncio.create_task(listen())
        await eventually(lambda: heard == [None])
        await store.put("a", b"1")
    with pytest.raises(StoreUnavailable, match=r"^Redis: ConnectionError$"):
        await store.get("a")
    with running_redis(port=port):
        await eventually(lambda: len(heard) > 1)
        assert heard[1:] == [None] * (len(heard) - 1)
        await store.publish("news", b"1")
        await eventually(lambda: heard[-1] == b"1")
        assert await store.get("a") is None
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await store.close()
    assert "not heard for a while" in caplog.text


async def test_a_wrong_password_is_told_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    with running_redis("--requirepass", "the-right-password") as server:
        store = RedisStore(server.url.replace("redis://", "redis://:a-wrong-password@"))
        with pytest.raises(StoreUnavailable) as refused:
            await store.ping()
        await store.close()
    assert "password" not in str(refused.value)
    assert "a-wrong-password" not in caplog.text
