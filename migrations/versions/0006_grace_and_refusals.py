"""The last use of a secret in its grace, and the refusals of a key by day."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

TIME = sa.String(27).with_variant(sa.String(27, collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("previous_last_used_at", TIME))
    op.add_column("uses", sa.Column("refused", sa.Text(), nullable=False, server_default=sa.text("''")))
