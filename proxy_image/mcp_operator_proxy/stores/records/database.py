"""The database of durable records: opened, migrated, and asked in short transactions."""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from mcp_operator_proxy.stores.keyvalue import StoreUnavailable

logger = logging.getLogger(__name__)
DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
TIMEOUT_SECONDS: Final = 10.0
"""For a connection, and for each statement."""
LOOK_SECONDS: Final = 0.02
"""Between two looks at a file that is locked."""
MIGRATIONS: Final = Path(__file__).parent / "migrations"
_LOCK: Final = 0x6D63706F
"""Of PostgreSQL's advisory locks: one replica migrates, the others wait for it."""


class Database:
    """Use as `async with`; entering migrates. `url` is `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`.

    Raises:
        ValueError: the URL is none, or of another database. The text does not hold it, as it may carry a password.
        StoreUnavailable: of every use, when the database cannot be reached or does not answer in time.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise ValueError("the database URL is not a URL") from None
        driver = DRIVERS.get(parsed.drivername.partition("+")[0])
        if driver is None:
            raise ValueError("the database URL must begin with sqlite:/// or postgresql://")
        self.kind = "sqlite" if driver.startswith("sqlite") else "postgresql"
        self._engine: AsyncEngine = create_async_engine(
            parsed.set(drivername=driver), pool_pre_ping=True, **_options(self.kind, parsed.database)
        )
        if self.kind == "sqlite":
            event.listen(self._engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self._engine.sync_engine, "begin", _begin_sqlite)
        self._file = Path(parsed.database or "") if self.kind == "sqlite" and not _in_memory(parsed.database) else None
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    async def __aenter__(self) -> "Database":
        try:
            await self.migrate()
        except BaseException:
            await self._engine.dispose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._engine.dispose()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A session that is committed in the end, or rolled back where something is raised in it."""
        with told():
            async with self._sessions.begin() as session:
                yield session

    async def ping(self) -> None:
        with told():
            async with self._engine.connect() as connection, asyncio.timeout(TIMEOUT_SECONDS):
                await connection.execute(text("SELECT 1"))

    async def migrate(self) -> None:
        """Bring the tables to this version's form. Data that is there stays."""
        if self._file is not None and not self._file.parent.is_dir():
            raise StoreUnavailable("database: there is no folder for its file")
        with told():
            async with self._engine.begin() as connection:
                if self.kind == "postgresql":
                    await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
                await connection.run_sync(_upgrade)


@contextlib.contextmanager
def told() -> Any:
    """What a database raises, as StoreUnavailable; the text of the driver may hold data, so it is left out."""
    try:
        yield
    except DBAPIError as error:
        kind = type(error.orig).__name__ if error.orig is not None else type(error).__name__
        raise StoreUnavailable(f"database: {kind}") from error
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"database: {type(error).__name__}") from error


def _in_memory(file: str | None) -> bool:
    return file in (None, "", ":memory:")


def _options(kind: str, file: str | None) -> dict[str, Any]:
    if kind == "sqlite" and _in_memory(file):  # it is as long as its one connection, which transactions take in turns
        turns = {"poolclass": AsyncAdaptedQueuePool, "pool_size": 1, "max_overflow": 0, "pool_timeout": TIMEOUT_SECONDS}
        return {"connect_args": {"timeout": TIMEOUT_SECONDS}, **turns}
    if kind == "sqlite":
        return {"connect_args": {"timeout": TIMEOUT_SECONDS}}
    return {
        "pool_size": 5,
        "max_overflow": 5,
        "pool_timeout": TIMEOUT_SECONDS,
        "connect_args": {"timeout": TIMEOUT_SECONDS, "command_timeout": TIMEOUT_SECONDS},
    }


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # else the driver begins transactions, and not before a CREATE TABLE
    cursor = connection.cursor()
    try:
        _write_ahead(connection, cursor)
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
    except BaseException:
        cursor.close()
        connection.close()  # its thread would wait for ever
        raise
    cursor.close()


def _write_ahead(connection: Any, cursor: Any) -> None:
    """Readers and a writer do not wait for each other then.

    While another process writes a new file, be it for this change itself, SQLite refuses it at once, however long the timeout.
    """
    until = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            connection.run_async(lambda _: asyncio.sleep(LOOK_SECONDS))
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    """Writers wait for each other from their beginning: one that became a writer later would fail at once."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
