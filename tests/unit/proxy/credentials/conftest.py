"""Stores by the real servers, for replicas that share them."""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mcp_operator_proxy.services.settings import StoreSettings
from mcp_operator_proxy.services.stores import Stores
from support.stores import Postgres, Redis, running_postgres, running_redis

KEY = "first key of the test, long enough"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    with running_redis() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["memory and sqlite", "redis and postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> StoreSettings:
    if request.param == "memory and sqlite":
        return StoreSettings(None, f"sqlite:///{tmp_path}/{uuid.uuid4().hex}.db", (KEY,))
    redis: Redis = request.getfixturevalue("redis_server")
    postgres: Postgres = request.getfixturevalue("postgres_server")
    return StoreSettings(redis.url, postgres.new_database(), (KEY,))


@pytest.fixture
async def stores(settings: StoreSettings) -> AsyncIterator[Stores]:
    made = Stores(settings)
    yield made
    await made.close()
