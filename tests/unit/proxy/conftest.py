"""Redis and PostgreSQL, started once for all tests that want them."""

from collections.abc import Iterator

import pytest
from redis import Redis as RedisClient

from support.stores import Postgres, Redis, running_postgres, running_redis


@pytest.fixture(scope="session")
def _redis() -> Iterator[Redis]:
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_server(_redis: Redis) -> Redis:
    """Empty at the beginning of each test."""
    with RedisClient.from_url(_redis.url) as client:
        client.flushall()
    return _redis


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """`new_database` gives each test its own."""
    with running_postgres() as server:
        yield server
