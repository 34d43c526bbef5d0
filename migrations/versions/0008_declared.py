"""Keys that a file declares."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("declared", sa.Boolean(), nullable=False, server_default=sa.false()))
