"""Stores by the real servers, for replicas that share them."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mcp_operator_proxy.services.settings import StoreSettings
from mcp_operator_proxy.services.stores import Stores
from support.oauth import OAuthProvider
from support.stores import Postgres, Redis

KEY = "first key of the test, long enough"
SECRET = "client s3cret:%"  # what a form-encoding has to treat


@pytest.fixture(params=["memory and sqlite", "redis and postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> StoreSettings:
    if request.param == "memory and sqlite":
        return StoreSettings(None, f"sqlite:///{tmp_path}/{uuid.uuid4().hex}.db", (KEY,))
    server: Redis = request.getfixturevalue("redis_server")
    postgres: Postgres = request.getfixturevalue("postgres_server")
    return StoreSettings(server.url, postgres.new_database(), (KEY,))


@pytest.fixture
async def stores(settings: StoreSettings) -> AsyncIterator[Stores]:
    made = Stores(settings)
    yield made
    await made.close()


@dataclass(frozen=True)
class Shared:
    """Stores that several replicas share: the part of the configuration, and its secrets."""

    config: dict[str, Any]
    secrets: dict[str, str]
    settings: StoreSettings


@pytest.fixture
def shared(redis_server: Redis, postgres_server: Postgres) -> Shared:
    database = postgres_server.new_database()
    files = {"redis": {"file": "redis"}, "database": {"file": "database"}, "encryptionKeys": [{"file": "key"}]}
    secrets = {"redis": redis_server.url, "database": database, "key": KEY}
    return Shared(files, secrets, StoreSettings(redis_server.url, database, (KEY,)))


@pytest.fixture
async def provider() -> AsyncIterator[OAuthProvider]:
    async with OAuthProvider() as made:
        made.add_client("proxy", SECRET)
        yield made
