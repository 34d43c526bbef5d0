"""The tables, and facts that follow from a row alone. No HTTP, no secrets, no queries.

A time is text in the form of formats.times.
Scopes are one text, separated by spaces (RFC 6749 section 3.3).
"""

from typing import Any, NamedTuple, Protocol

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)

from formats.times import now

UNIQUE_NAME = "api_keys_tenant_name_key"

# The names of constraints are those that PostgreSQL itself would choose.
NAMES = {
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "pk": "%(table_name)s_pkey",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}
db = SQLAlchemy(metadata=MetaData(naming_convention=NAMES))

SCHEMA = "0009"  # the newest migration; a test holds it to migrations/versions

# A number that a database gives out in order. In SQLite only an INTEGER counts up by itself; it has 64 bits too.
Number = BigInteger().with_variant(Integer(), "sqlite")
# Compared byte for byte, as in SQLite, in a PostgreSQL of any locale.
Bytewise = Text().with_variant(Text(collation="C"), "postgresql")
Time = String(27).with_variant(String(27, collation="C"), "postgresql")


def _where(condition: str) -> dict[str, Any]:
    """A partial index, which both databases have."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


api_keys = db.Table(
    "api_keys",
    Column("seq", Number, primary_key=True),  # the order of creation; AUTOINCREMENT, so never used twice
    Column("id", String(36), nullable=False, unique=True),
    Column("tenant", Bytewise, nullable=False),
    Column("name", Bytewise, nullable=False),
    Column("role", String(5), nullable=False),
    Column("scopes", Text, nullable=False, server_default=text("''")),
    Column("description", Text, nullable=False, server_default=text("''")),
    Column("owner", Text, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("created_by_key", String(36)),  # no foreign key: it stays when the parent is deleted
    Column("expires_at", Time),
    Column("last_used_at", Time),
    Column("last_used_ip", String(45)),
    Column("disabled", Boolean, nullable=False, server_default=false()),
    Column("secret_hash", String(60), nullable=False),
    Column("previous_hash", String(60)),  # the secret before the last rotation,
    Column("previous_until", Time),  # good until then
    Column("prefix", String(10)),  # of the key's text; null: an early version did not store it, so any is good
    Column("previous_prefix", String(10)),
    Column("hint", String(4)),  # the last four characters of the key's text
    Column("disabled_by", String(10)),  # the kind of actor; null while the key is enabled
    Column("previous_last_used_at", Time),  # of the secret before the last rotation, since then
    Column("hosts", Text, nullable=False, server_default=text("''")),  # separated by spaces, as networks are
    Column("networks", Text, nullable=False, server_default=text("''")),
    Column("rate_limit", String(13)),  # as 100/60: requests in so many seconds
    Column("allowance", String(36)),  # the id of the key whose rate limit counts; it outlives that key
    Column("metadata", Text, nullable=False, server_default=text("'{}'")),  # JSON
    Column("declared", Boolean, nullable=False, server_default=false()),  # in a file, which alone changes it
    UniqueConstraint("tenant", "name", name=UNIQUE_NAME),
    Index("ix_api_keys_tenant_seq", "tenant", "seq"),
    Index("ix_api_keys_allowance", "allowance", **_where("allowance IS NOT NULL")),
    # For the notices about keys that end soon; a key without an end, or without a grace, is in neither.
    Index("ix_api_keys_tenant_expires_at", "tenant", "expires_at", **_where("expires_at IS NOT NULL")),
    Index("ix_api_keys_tenant_previous_until", "tenant", "previous_until", **_where("previous_until IS NOT NULL")),
    sqlite_autoincrement=True,
)

# Which key minted which. A row outlives both keys, so that a cascade reaches past a deleted key.
lineage = db.Table(
    "lineage",
    Column("key_id", String(36), primary_key=True),
    Column("parent_id", String(36), nullable=False, index=True),
)

audit_entries = db.Table(
    "audit_entries",
    Column("id", Number, primary_key=True),
    Column("tenant", Bytewise, nullable=False),
    Column("at", Time, nullable=False),
    Column("action", String(20), nullable=False),
    Column("actor_kind", String(10), nullable=False),
    Column("actor_owner", Text, nullable=False),
    Column("actor_key_id", String(36)),
    Column("actor_key_name", Text),
    Column("key_id", String(36), nullable=False),
    Column("key_name", Text, nullable=False),
    Column("ip", String(45)),
    Column("request_id", String(128)),
    Column("details", Text),  # JSON
    Index("ix_audit_entries_tenant_id", "tenant", "id"),
    Index("ix_audit_entries_key_id_id", "key_id", "id"),  # the history of one key
    sqlite_autoincrement=True,
)

# How often each key was used, day by day. A row goes with its key.
uses = db.Table(
    "uses",
    Column("key_id", String(36), primary_key=True),
    Column("through", String(10), nullable=False),  # the day (UTC) of the last number, as 2026-11-26
    Column("counts", Text, nullable=False),  # of good checks: a number a day, separated by spaces
    Column("refused", Text, nullable=False, server_default=text("''")),  # of refusals, in the same way
)

# The sessions of people in the console, and the links that open one.
sessions = db.Table(
    "sessions",
    Column("id", String(36), primary_key=True),
    Column("digest", String(64), nullable=False),  # of the secret of the link, and then of that of the cookie
    Column("tenant", Bytewise, nullable=False),
    Column("owner", Text, nullable=False),
    Column("role", String(5), nullable=False),
    Column("made_at", Time, nullable=False),
    Column("redeem_until", Time),  # null: it is open
    Column("ends_at", Time, nullable=False, index=True),
    Column("issuer", Text),  # the OpenID provider whose page it was opened at; null: a link, or a token
)

# Facts about the service itself, such as a fingerprint of the secret that signs its tokens.
service_facts = db.Table(
    "service_facts",
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)


class KeyRow(NamedTuple):
    """A row of `api_keys`: all columns, in the order of the table."""

    seq: int
    id: str
    tenant: str
    name: str
    role: str
    scopes: str
    description: str
    owner: str
    created_at: str
    created_by_key: str | None
    expires_at: str | None
    last_used_at: str | None
    last_used_ip: str | None
    disabled: bool
    secret_hash: str
    previous_hash: str | None
    previous_until: str | None
    prefix: str | None
    previous_prefix: str | None
    hint: str | None
    disabled_by: str | None
    previous_last_used_at: str | None
    hosts: str
    networks: str
    rate_limit: str | None
    allowance: str | None
    metadata: str
    declared: bool


class CheckedKey(NamedTuple):
    """The columns that a check reads. Each one costs time on every check, so the others are left out."""

    id: str
    tenant: str
    name: str
    role: str
    scopes: str
    owner: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    disabled: bool
    secret_hash: str
    previous_hash: str | None
    previous_until: str | None
    prefix: str | None
    previous_prefix: str | None
    hosts: str
    networks: str
    rate_limit: str | None
    allowance: str | None


class Expiring(Protocol):
    @property
    def expires_at(self) -> str | None: ...


def is_expired(holder: Expiring) -> bool:
    """Whether a key or a credential has expired."""
    return holder.expires_at is not None and holder.expires_at <= now()


def status(row: KeyRow | CheckedKey) -> str:
    """The status of a key now: `disabled`, else `expired`, else `active`."""
    return "disabled" if row.disabled else "expired" if is_expired(row) else "active"


def grace_until(row: KeyRow) -> str | None:
    """The end of the grace of the secret before the last rotation; None: that secret is good no more."""
    return row.previous_until if row.previous_until is not None and row.previous_until > now() else None


def is_contained(row: KeyRow) -> bool:
    """Whether a key was disabled by a person, so that only a person can enable it."""
    return bool(row.disabled) and row.disabled_by not in (None, "api_key")
