"""The tables. A change here needs a migration; a test compares the two on both databases."""

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

NAME: Final = 255
_CONVENTION: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Instant(TypeDecorator[datetime]):
    """A moment in UTC, also in a database that knows no time zones. Naive times are refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored time needs a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_SERIAL: Final = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=_CONVENTION)


class UserSession(Base):
    """A session that a user began over REST. Its credential stands in `Credential`."""

    __tablename__ = "user_sessions"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(String(NAME), index=True)
    provider: Mapped[str | None] = mapped_column(String(NAME))
    servers: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(Instant)
    last_activity: Mapped[datetime] = mapped_column(Instant)
    expires_at: Mapped[datetime] = mapped_column(Instant, index=True)
    ended_at: Mapped[datetime | None] = mapped_column(Instant)
    ended_why: Mapped[str | None] = mapped_column(String(64))


class Credential(Base):
    """What a user may show to an issuer or a server. `sealed` is encrypted; nothing else in here is secret."""

    __tablename__ = "credentials"
    __table_args__ = (UniqueConstraint("user_id", "issuer"),)

    id: Mapped[int] = mapped_column(_SERIAL, primary_key=True, autoincrement=True)
    user_id: Mapped[str] = mapped_column(String(NAME))
    issuer: Mapped[str] = mapped_column(String(NAME))
    """The provider's name, or `server:` and the id of the server that it was made for."""
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    sealed_with: Mapped[str] = mapped_column(String(16))
    """Names the encryption key."""
    version: Mapped[int] = mapped_column(Integer, default=1)
    """Counts writes: of two replicas that write at once, one finds that it was late."""
    refreshable: Mapped[bool]
    expires_at: Mapped[datetime | None] = mapped_column(Instant, index=True)
    failures: Mapped[int] = mapped_column(Integer, default=0)
    """Refreshes that failed in a row."""
    retry_at: Mapped[datetime | None] = mapped_column(Instant)
    leased_until: Mapped[datetime | None] = mapped_column(Instant)
    """One replica refreshes it until then, if it lives."""
    problem: Mapped[str | None] = mapped_column(String(NAME))
    """Why the user has to sign in again; None while it works."""
    updated_at: Mapped[datetime] = mapped_column(Instant)


class AuditRecord(Base):
    """One call, or one decision about one."""

    __tablename__ = "audit"
    __table_args__ = (Index(None, "principal", "at"),)

    id: Mapped[int] = mapped_column(_SERIAL, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(Instant, index=True)
    principal: Mapped[str | None] = mapped_column(String(NAME))
    user_id: Mapped[str | None] = mapped_column(String(NAME))
    route: Mapped[str | None] = mapped_column(String(NAME))
    server: Mapped[str | None] = mapped_column(String(NAME))
    method: Mapped[str] = mapped_column(String(64))
    name: Mapped[str | None] = mapped_column(Text)
    decision: Mapped[str] = mapped_column(String(32))
    outcome: Mapped[str] = mapped_column(String(32))
    seconds: Mapped[float] = mapped_column(Double)
    trace: Mapped[str | None] = mapped_column(String(64))
    arguments: Mapped[Any | None] = mapped_column(JSON)
    """Only where the configuration asks for them."""


class PinnedDefinition(Base):
    """What a tool looked like when it was first seen, or was approved."""

    __tablename__ = "pinned_definitions"

    server: Mapped[str] = mapped_column(String(NAME), primary_key=True)
    tool: Mapped[str] = mapped_column(String(NAME), primary_key=True)
    digest: Mapped[str] = mapped_column(String(80))
    definition: Mapped[dict[str, Any]] = mapped_column(JSON)
    pinned_at: Mapped[datetime] = mapped_column(Instant)
