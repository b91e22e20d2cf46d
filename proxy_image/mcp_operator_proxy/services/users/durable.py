"""The records of users' sessions in the database. A session is closed in them once, by whichever replica comes first."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from sqlalchemy import func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from mcp_operator_proxy.services.users.record import UserSessionRecord, Why
from mcp_operator_proxy.stores.records.database import Database
from mcp_operator_proxy.stores.records.models import UserSession


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


async def begin(database: Database, record: UserSessionRecord, most: int) -> int | None:
    """Write a session down; those of the same user that are open are closed as replaced.

    Returns how many were closed; None where there are `most` of other users already, and nothing was written.
    """
    async with database.transaction() as session:
        others = await _open_count(session, record.created_at, but=record.user_id)
        if others >= most:
            return None
        mine = select(UserSession.id).where(UserSession.user_id == record.user_id, UserSession.ended_at.is_(None))
        closed = await _close(session, (await session.scalars(mine)).all(), "replaced", record.created_at)
        session.add(
            UserSession(
                id=record.digest,
                user_id=record.user_id,
                provider=record.provider,
                servers=list(record.servers),
                created_at=moment(record.created_at),
                last_activity=moment(record.last_activity),
                expires_at=moment(record.expires_at),
            )
        )
        return closed


async def close(database: Database, digest: str, why: Why, now: float) -> bool:
    """Whether the session was open until now."""
    async with database.transaction() as session:
        return await _close(session, [digest], why, now) > 0


async def count(database: Database, now: float) -> int:
    """Sessions that are open."""
    async with database.transaction() as session:
        return await _open_count(session, now)


async def stale(database: Database, idle_seconds: float, now: float, most: int) -> Sequence[UserSession]:
    """Open sessions that are too old, or of which no use is known for so long."""
    over = or_(UserSession.expires_at <= moment(now), UserSession.last_activity <= moment(now - idle_seconds))
    wanted = select(UserSession).where(UserSession.ended_at.is_(None), over).order_by(UserSession.expires_at)
    async with database.transaction() as session:
        return (await session.scalars(wanted.limit(most))).all()


async def used(database: Database, digest: str, at: float) -> None:
    """Note the last use that is known of."""
    async with database.transaction() as session:
        mine = update(UserSession).where(UserSession.id == digest, UserSession.ended_at.is_(None))
        await session.execute(mine.values(last_activity=moment(at)))


async def _close(session: AsyncSession, digests: Iterable[str], why: Why, now: float) -> int:
    closed = 0
    for digest in digests:
        ending = update(UserSession).where(UserSession.id == digest, UserSession.ended_at.is_(None))
        done = await session.execute(ending.values(ended_at=moment(now), ended_why=why).returning(UserSession.id))
        closed += len(done.all())
    return closed


async def _open_count(session: AsyncSession, now: float, but: str | None = None) -> int:
    wanted = select(func.count()).where(UserSession.ended_at.is_(None), UserSession.expires_at > moment(now))
    if but is not None:
        wanted = wanted.where(UserSession.user_id != but)
    return (await session.scalar(wanted)) or 0
