"""Where and how often a key may be used, and notes of the operator."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    for name in ("hosts", "networks"):
        op.add_column("api_keys", sa.Column(name, sa.Text(), nullable=False, server_default=sa.text("''")))
    op.add_column("api_keys", sa.Column("rate_limit", sa.String(13)))
    op.add_column("api_keys", sa.Column("allowance", sa.String(36)))
    op.add_column("api_keys", sa.Column("metadata", sa.Text(), nullable=False, server_default=sa.text("'{}'")))
    given = sa.text("allowance IS NOT NULL")
    op.create_index("ix_api_keys_allowance", "api_keys", ["allowance"], sqlite_where=given, postgresql_where=given)
