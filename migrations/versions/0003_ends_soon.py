"""Indexes of what ends soon: keys with an end, and keys with two secrets."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for column in ("expires_at", "previous_until"):
        given = sa.text(f"{column} IS NOT NULL")
        name = f"ix_api_keys_tenant_{column}"
        op.create_index(name, "api_keys", ["tenant", column], sqlite_where=given, postgresql_where=given)
