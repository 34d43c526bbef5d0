"""Keys, their lineage and the audit."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Bytewise = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Time = sa.String(27).with_variant(sa.String(27, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("seq", Number, primary_key=True),
        sa.Column("id", sa.String(36), nullable=False, unique=True),
        sa.Column("tenant", Bytewise, nullable=False),
        sa.Column("name", Bytewise, nullable=False),
        sa.Column("role", sa.String(5), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("description", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("created_by_key", sa.String(36)),
        sa.Column("expires_at", Time),
        sa.Column("last_used_at", Time),
        sa.Column("last_used_ip", sa.String(45)),
        sa.Column("disabled", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("secret_hash", sa.String(60), nullable=False),
        sa.Column("previous_hash", sa.String(60)),
        sa.Column("previous_until", Time),
        sa.UniqueConstraint("tenant", "name"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_api_keys_tenant_seq", "api_keys", ["tenant", "seq"])
    op.create_table(
        "lineage",
        sa.Column("key_id", sa.String(36), primary_key=True),
        sa.Column("parent_id", sa.String(36), nullable=False),
    )
    op.create_index("ix_lineage_parent_id", "lineage", ["parent_id"])
    op.create_table(
        "audit_entries",
        sa.Column("id", Number, primary_key=True),
        sa.Column("tenant", Bytewise, nullable=False),
        sa.Column("at", Time, nullable=False),
        sa.Column("action", sa.String(20), nullable=False),
        sa.Column("actor_kind", sa.String(10), nullable=False),
        sa.Column("actor_owner", sa.Text(), nullable=False),
        sa.Column("actor_key_id", sa.String(36)),
        sa.Column("actor_key_name", sa.Text()),
        sa.Column("key_id", sa.String(36), nullable=False),
        sa.Column("key_name", sa.Text(), nullable=False),
        sa.Column("ip", sa.String(45)),
        sa.Column("request_id", sa.String(128)),
        sa.Column("details", sa.Text()),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_entries_tenant_id", "audit_entries", ["tenant", "id"])
