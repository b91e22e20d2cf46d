"""A real Redis, as of the stores' tests."""

from collections.abc import Iterator

import pytest

from support.stores import Postgres, Redis, running_postgres, running_redis


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    with running_redis() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server
