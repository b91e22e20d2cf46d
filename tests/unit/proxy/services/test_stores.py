"""The stores that a configuration names: found, refused, shared, replaced at a swap, away."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.proxy import Proxy
from mcp_operator_proxy.services.settings import StoreSettings, store_settings
from mcp_operator_proxy.services.stores import Stores
from mcp_operator_proxy.stores.keyvalue import StoreUnavailable
from mcp_operator_proxy.stores.records.models import UserSession
from mcp_operator_proxy.swap.validate import ConfigRejected, SecretMissing
from support.stores import running_redis

KEY = "k" * 40
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = ("created_at", "last_activity", "expires_at")


def config(revision: str = "1", **stores: Any) -> ProxyConfig:
    files = {name: {"file": file} for name, file in stores.items() if name != "keys"}
    keys = [{"file": file} for file in stores.get("keys", ["key"] if stores else [])]
    return ProxyConfig.model_validate({"revision": revision, "stores": {**files, "encryptionKeys": keys}})


@pytest.mark.parametrize(
    ("secrets", "error", "message"),
    [
        ({"key": KEY}, SecretMissing, "stores.redis: there is no secret file url"),
        ({"url": "http://u:hunter2@x", "key": KEY}, ConfigRejected, "stores.redis: the URL must begin with redis://"),
        ({"url": "redis://x"}, SecretMissing, r"stores.encryptionKeys\[0\]: there is no secret file key"),
        ({"url": "redis://x", "key": "short"}, ConfigRejected, "encryption key 1 has fewer than 32 characters"),
    ],
)
def test_what_cannot_be_a_store_is_refused_with_its_field(
    secrets: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        store_settings(config(redis="url"), secrets)
    assert "hunter2" not in str(raised.value)


def test_stores_that_outlive_the_process_need_a_key() -> None:
    with pytest.raises(ValueError, match="need encryptionKeys"):
        config(redis="url", keys=[])


def test_nothing_secret_is_shown() -> None:
    settings = store_settings(config(redis="url"), {"url": "redis://:hunter2@x", "key": KEY})
    assert "hunter2" not in repr(settings)
    assert KEY not in repr(settings)


async def test_a_database_is_opened_by_its_first_use_and_tried_again(tmp_path: Path) -> None:
    missing = tmp_path / "not-there"
    stores = Stores(StoreSettings(database=f"sqlite:///{missing}/records.db", encryption_keys=(KEY,)))
    assert (await stores.health())["database"] == "down"
    with pytest.raises(StoreUnavailable):
        await stores.records()
    missing.mkdir()
    assert await stores.health() == {"redis": "unused", "database": "up"}
    assert (missing / "records.db").exists()
    await stores.close()


async def test_without_a_database_records_are_kept_in_memory_for_all_at_once() -> None:
    stores = Stores(StoreSettings())

    async def add(number: int) -> None:
        async with (await stores.records()).transaction() as session:
            session.add(
                UserSession(id=str(number), user_id=f"user-{number % 3}", servers=[], **dict.fromkeys(TIMES, NOW))
            )

    await asyncio.gather(*(add(number) for number in range(20)))
    async with (await stores.records()).transaction() as session:
        found = await session.scalars(select(UserSession.user_id))
        assert sorted(found) == sorted(f"user-{number % 3}" for number in range(20))
    assert (await stores.health())["database"] == "unused"
    await stores.close()


async def test_a_swap_replaces_the_stores_and_keeps_those_that_stay() -> None:
    with running_redis() as redis:
        secrets = {"url": redis.url, "key": KEY}
        async with Proxy() as proxy:
            await proxy.apply(config("1"))
            memory = proxy.services.stores
            assert not memory.shared
            await memory.keyvalue.put("a", b"1")
            await proxy.apply(config("2"))
            assert proxy.services.stores is memory
            await proxy.apply(config("3", redis="url"), secrets)
            shared = proxy.services.stores
            assert shared.shared
            await shared.keyvalue.put("a", b"2")
            assert (await shared.health())["redis"] == "up"
            async with Proxy() as other:
                await other.apply(config("3", redis="url"), secrets)
                assert await other.services.stores.keyvalue.get("a") == b"2"
            await proxy.apply(config("3", redis="url"), {**secrets, "key": "n" * 40})
            assert proxy.services.stores is not shared, "a rotated key is another store, of equal configuration"


async def test_a_redis_that_is_away_keeps_no_proxy_from_starting() -> None:
    async with Proxy() as proxy:
        assert await proxy.apply(config(redis="url"), {"url": "redis://127.0.0.1:1/0", "key": KEY})
        assert (await proxy.services.stores.health())["redis"] == "down"
        with pytest.raises(StoreUnavailable):
            await proxy.services.stores.keyvalue.get("a")
