"""The prefix and the last characters of a key, who disabled it, and facts about the service."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("prefix", sa.String(10)))
    op.add_column("api_keys", sa.Column("previous_prefix", sa.String(10)))
    op.add_column("api_keys", sa.Column("hint", sa.String(4)))
    op.add_column("api_keys", sa.Column("disabled_by", sa.String(10)))
    op.create_table(
        "service_facts",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
    )
