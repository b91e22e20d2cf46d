"""The first tables: user sessions, credentials, audit, pinned definitions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NAME = 255
INSTANT = sa.DateTime(timezone=True)
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "user_sessions",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(NAME), nullable=False),
        sa.Column("provider", sa.String(NAME)),
        sa.Column("servers", sa.JSON(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("last_activity", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT),
        sa.Column("ended_why", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_user_sessions"),
    )
    op.create_index("ix_user_sessions_user_id", "user_sessions", ["user_id"])
    op.create_index("ix_user_sessions_expires_at", "user_sessions", ["expires_at"])
    op.create_table(
        "credentials",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("user_id", sa.String(NAME), nullable=False),
        sa.Column("issuer", sa.String(NAME), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_with", sa.String(16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("refreshable", sa.Boolean(), nullable=False),
        sa.Column("expires_at", INSTANT),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("retry_at", INSTANT),
        sa.Column("leased_until", INSTANT),
        sa.Column("problem", sa.String(NAME)),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_credentials"),
        sa.UniqueConstraint("user_id", "issuer", name="uq_credentials_user_id_issuer"),
    )
    op.create_index("ix_credentials_expires_at", "credentials", ["expires_at"])
    op.create_table(
        "audit",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("principal", sa.String(NAME)),
        sa.Column("user_id", sa.String(NAME)),
        sa.Column("route", sa.String(NAME)),
        sa.Column("server", sa.String(NAME)),
        sa.Column("method", sa.String(64), nullable=False),
        sa.Column("name", sa.Text()),
        sa.Column("decision", sa.String(32), nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("trace", sa.String(64)),
        sa.Column("arguments", sa.JSON()),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_principal_at", "audit", ["principal", "at"])
    op.create_table(
        "pinned_definitions",
        sa.Column("server", sa.String(NAME), nullable=False),
        sa.Column("tool", sa.String(NAME), nullable=False),
        sa.Column("digest", sa.String(80), nullable=False),
        sa.Column("definition", sa.JSON(), nullable=False),
        sa.Column("pinned_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("server", "tool", name="pk_pinned_definitions"),
    )


def downgrade() -> None:
    for table in ("pinned_definitions", "audit", "credentials", "user_sessions"):
        op.drop_table(table)
