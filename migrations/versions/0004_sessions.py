"""Sessions of people in the console, and an index of the audit for the history of one key."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

Bytewise = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Time = sa.String(27).with_variant(sa.String(27, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("tenant", Bytewise, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("role", sa.String(5), nullable=False),
        sa.Column("made_at", Time, nullable=False),
        sa.Column("redeem_until", Time),
        sa.Column("ends_at", Time, nullable=False),
    )
    op.create_index("ix_sessions_ends_at", "sessions", ["ends_at"])
    op.create_index("ix_audit_entries_key_id_id", "audit_entries", ["key_id", "id"])
