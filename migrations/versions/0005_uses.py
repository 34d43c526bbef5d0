"""Uses of keys by day."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "uses",
        sa.Column("key_id", sa.String(36), primary_key=True),
        sa.Column("through", sa.String(10), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
    )
