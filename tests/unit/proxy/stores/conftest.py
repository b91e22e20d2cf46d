"""Both implementations of each store, by the real servers."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mcp_operator_proxy.stores.keyvalue import KeyValue
from mcp_operator_proxy.stores.memory import MemoryStore
from mcp_operator_proxy.stores.records.database import Database
from mcp_operator_proxy.stores.redis import RedisStore
from support.stores import Postgres, Redis


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[KeyValue]:
    made: KeyValue
    if request.param == "memory":
        made = MemoryStore()
    else:
        server: Redis = request.getfixturevalue("redis_server")
        made = RedisStore(server.url, prefix=f"{uuid.uuid4().hex}:")
    yield made
    await made.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/records.db"
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.new_database()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database(database_url) as made:
        yield made
