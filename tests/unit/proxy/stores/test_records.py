"""Durable records on a real SQLite and a real PostgreSQL: migrations, times, and errors that show nothing."""

import asyncio
import contextlib
import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, event, select, text

from mcp_operator_proxy.stores.keyvalue import StoreUnavailable
from mcp_operator_proxy.stores.records.database import Database
from mcp_operator_proxy.stores.records.models import AuditRecord, Base, Credential, UserSession

NOW = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)


def session(number: int = 1, **more: Any) -> UserSession:
    times = {"created_at": NOW, "last_activity": NOW, "expires_at": NOW + timedelta(hours=1)}
    return UserSession(id=f"s{number}", user_id="alice", provider="github", servers=["ns/a"], **{**times, **more})


def credential(**more: Any) -> Credential:
    known = {"user_id": "alice", "issuer": "github", "sealed": b"\x00\xff", "sealed_with": "k", "refreshable": True}
    return Credential(**{**known, "updated_at": NOW, **more})


async def test_what_is_written_is_read(database: Database) -> None:
    async with database.transaction() as writing:
        writing.add_all([session(), credential()])
    async with database.transaction() as reading:
        found = (await reading.scalars(select(UserSession))).one()
        held = (await reading.scalars(select(Credential))).one()
    assert (found.servers, found.created_at, found.ended_at) == (["ns/a"], NOW, None)
    assert (held.sealed, held.version, held.failures, held.expires_at) == (b"\x00\xff", 1, 0, None)
    await database.ping()


async def test_times_are_one_moment_in_any_zone(database: Database) -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    async with database.transaction() as writing:
        writing.add(session(created_at=elsewhere))
    async with database.transaction() as reading:
        assert (await reading.scalars(select(UserSession.created_at))).one() == NOW
        assert (await reading.scalars(select(UserSession.id).where(UserSession.expires_at > elsewhere))).all() == ["s1"]


async def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(StoreUnavailable):
        async with database.transaction() as writing:
            writing.add(session(created_at=NOW.replace(tzinfo=None)))


async def test_what_is_raised_in_a_transaction_undoes_it(database: Database) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with database.transaction() as writing:
            writing.add(session())
            await writing.flush()
            raise ZeroDivisionError
    async with database.transaction() as reading:
        assert (await reading.scalars(select(UserSession))).all() == []


async def test_a_user_has_one_credential_for_an_issuer_and_the_error_holds_no_data(database: Database) -> None:
    async with database.transaction() as writing:
        writing.add(credential())
    with pytest.raises(StoreUnavailable) as refused:
        async with database.transaction() as writing:
            writing.add(credential(sealed=b"sealed-secret"))
    assert "IntegrityError" in str(refused.value) or "UniqueViolation" in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "alice" not in str(refused.value)


async def test_audit_records_are_numbered_by_the_database(database: Database) -> None:
    known = {"method": "tools/call", "decision": "allowed", "outcome": "ok", "seconds": 0.5, "arguments": {"a": [1]}}
    async with database.transaction() as writing:
        writing.add_all([AuditRecord(at=NOW, **known) for _ in range(3)])
    async with database.transaction() as reading:
        found = (await reading.scalars(select(AuditRecord).order_by(AuditRecord.id))).all()
    assert [record.arguments for record in found] == [{"a": [1]}] * 3
    assert len({record.id for record in found}) == 3


def _differences(connection: Connection) -> list[Any]:
    return compare_metadata(
        MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True}),
        Base.metadata,
    )


async def test_the_migrations_make_what_the_models_say(database: Database) -> None:
    async with database._engine.connect() as connection:
        assert await connection.run_sync(_differences) == []


async def test_migrating_again_and_from_many_replicas_at_once_changes_nothing(database_url: str) -> None:
    async with Database(database_url) as first, first.transaction() as writing:
        writing.add(session())
    replicas = [Database(database_url) for _ in range(3)]
    await asyncio.gather(*(replica.__aenter__() for replica in replicas))
    async with replicas[0].transaction() as reading:
        assert (await reading.scalars(select(UserSession.id))).all() == ["s1"]
        assert (await reading.scalars(text("SELECT version_num FROM alembic_version"))).all() == ["0001"]
    for replica in replicas:
        await replica.__aexit__()


async def test_an_empty_database_is_migrated_by_many_replicas_at_once(database_url: str) -> None:
    replicas = [Database(database_url) for _ in range(3)]
    await asyncio.gather(*(replica.__aenter__() for replica in replicas))
    async with replicas[0]._engine.connect() as connection:
        assert await connection.run_sync(_differences) == []
    for replica in replicas:
        await replica.__aexit__()


async def test_a_new_file_to_which_somebody_writes_is_waited_for(tmp_path: Path) -> None:
    """As of workers that begin at once one is before the others."""
    file = tmp_path / "records.db"
    writer = sqlite3.connect(file, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    opened = Database(f"sqlite:///{file}")
    loop = asyncio.get_running_loop()
    event.listen(
        opened._engine.sync_engine, "connect", lambda *_: loop.call_later(0.1, writer.rollback), insert=True, once=True
    )
    async with opened, opened.transaction() as writing:
        writing.add(session())
    writer.close()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nonsense secret", "not a URL"),
        ("mysql://u:secret@h/d", "must begin with sqlite"),
        ("", "not a URL"),
    ],
)
def test_a_url_that_is_none_is_refused_without_being_shown(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        Database(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["postgresql://u:a-password@127.0.0.1:1/d", "sqlite:////nonexistent-folder/a-password/records.db"]
)
async def test_a_database_that_cannot_be_reached_is_told_without_a_password(url: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"^database: ") as refused:
        async with Database(url):
            pass
    assert "a-password" not in str(refused.value)


async def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "records.db"
    file.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreUnavailable, match=r"^database: DatabaseError$"):
        async with Database(f"sqlite:///{file}"):
            pass
    assert file.read_bytes().startswith(b"this is no database")
