"""A transaction on all tables that may take minutes, as long as the server goes on answering."""

import time
from collections.abc import Iterable
from typing import Any

from psycopg import sql
from sqlalchemy import Column, Table

from models import db
from storage.postgresql.connection import PatientConnection

SLOW = 60.0  # seconds that one answer may take
LIMITS = {"lock_timeout": "10s", "statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
SINCE_17 = {"transaction_timeout": "0"}
_IDENTITY = """
SELECT system_identifier || ' ' || oid FROM pg_control_system(), pg_database WHERE datname = current_database()
"""


def lift_limits(connection: PatientConnection) -> None:
    """Replaces the limits that the server has for a transaction. These are no queries, so no snapshot is taken yet."""
    newer = SINCE_17 if connection.info.server_version >= 170000 else {}
    for name, value in {**LIMITS, **newer}.items():
        connection.execute(sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), value))


def go_on(connection: PatientConnection) -> None:
    """From now on the server has SLOW for its next answer."""
    connection.deadline = time.monotonic() + SLOW


def lock_tables(connection: PatientConnection, mode: sql.SQL) -> None:
    tables = names(db.metadata.sorted_tables)
    connection.execute(sql.SQL("LOCK TABLE {} IN {} MODE").format(tables, mode))


def identity(connection: PatientConnection) -> str:
    """The same text for every address of one database."""
    [text] = connection.execute(_IDENTITY).fetchone() or [""]
    return str(text)


def names(parts: Iterable[Table | Column[Any]]) -> sql.Composed:
    """The names, separated by commas."""
    return sql.SQL(", ").join(sql.Identifier(part.name) for part in parts)
