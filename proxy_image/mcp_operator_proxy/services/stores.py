"""The stores that one configuration names. Each is opened by its first use, so that one that is away keeps nothing from starting."""

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Final, Literal

from mcp_operator_proxy.services.settings import StoreSettings
from mcp_operator_proxy.stores.keyvalue import KeyValue, StoreUnavailable
from mcp_operator_proxy.stores.memory import MemoryStore
from mcp_operator_proxy.stores.sealed import Sealer

if TYPE_CHECKING:
    from mcp_operator_proxy.stores.records.database import Database

Health = Literal["up", "down", "unused"]
PING_SECONDS: Final = 3.0
MEMORY_DATABASE: Final = "sqlite:///:memory:"


class Stores:
    """`keyvalue` is Redis or this process's memory, `records` PostgreSQL, SQLite, or SQLite in memory."""

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self.sealer = Sealer(settings.encryption_keys or (secrets.token_urlsafe(48),))
        self._keyvalue: KeyValue | None = None
        self._database: Database | None = None
        self._opening = asyncio.Lock()

    @property
    def shared(self) -> bool:
        """Whether other workers and replicas see what is kept here."""
        return self.settings.redis is not None

    @property
    def keyvalue(self) -> KeyValue:
        if self._keyvalue is None:
            if self.settings.redis is None:
                self._keyvalue = MemoryStore()
            else:
                from mcp_operator_proxy.stores.redis import RedisStore  # noqa: PLC0415 - only who has one pays for it

                self._keyvalue = RedisStore(self.settings.redis)
        return self._keyvalue

    async def records(self) -> "Database":
        """The database, migrated. Raises StoreUnavailable; the next use tries again."""
        async with self._opening:
            if self._database is None:
                from mcp_operator_proxy.stores.records.database import Database  # noqa: PLC0415 - as above

                database = Database(self.settings.database or MEMORY_DATABASE)
                await database.__aenter__()
                self._database = database
            return self._database

    async def health(self) -> dict[Literal["redis", "database"], Health]:
        """Whether they answer; `unused` is what is not configured."""
        redis, database = await asyncio.gather(self._redis_health(), self._database_health())
        return {"redis": redis, "database": database}

    async def _redis_health(self) -> Health:
        if self.settings.redis is None:
            return "unused"
        try:
            async with asyncio.timeout(PING_SECONDS):
                await self.keyvalue.ping()
        except (StoreUnavailable, TimeoutError):
            return "down"
        return "up"

    async def _database_health(self) -> Health:
        if self.settings.database is None:
            return "unused"
        try:
            async with asyncio.timeout(PING_SECONDS):
                await (await self.records()).ping()
        except (StoreUnavailable, TimeoutError):
            return "down"
        return "up"

    async def close(self) -> None:
        if self._keyvalue is not None:
            with contextlib.suppress(StoreUnavailable):
                await self._keyvalue.close()
        if self._database is not None:
            await self._database.__aexit__(None, None, None)
