"""Copies a database into an empty one of PostgreSQL, in one transaction: it is there whole, or not at all."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial

import psycopg
from psycopg import sql
from sqlalchemy import Column, Connection, Table, text

from errors import DatabaseUnavailable
from models import SCHEMA, db, service_facts, sessions
from storage.postgresql import schema
from storage.postgresql.address import Address
from storage.postgresql.connection import DURABLE, PatientConnection, commit, driver
from storage.postgresql.long_transaction import go_on, identity, lift_limits, lock_tables, names
from storage.source import CopyRefused, HeldSource, Source

# psycopg warns of a COPY that it could not end in order, beside the error that is told anyway.
logging.getLogger("psycopg").setLevel(logging.ERROR)

OF_A_ROW = ("22", "23", "54")  # SQLSTATEs of a value, a constraint, a limit; the others concern no row
BATCH = 1000  # rows between two reports of the progress
LEAVE = 1.0  # seconds
Progress = Callable[[int, int], None]  # takes the number of rows that are copied, and of all


def copy_into(address: Address, source: Source, progress: Progress) -> dict[str, int]:
    """Returns the number of rows by table. The source is held still until the copy is committed.

    Raises CopyRefused, also for a Ctrl-C and where it is unknown whether the copy is there, and DatabaseUnavailable of
    the source.
    """
    committing = False
    try:
        with schema.connection_to(address) as connection:
            _prepare(connection, source)
            with source.hold() as held:
                copied = _copy(driver(connection), held, progress)
                committing = True
                commit(connection)
        return copied
    except (schema.Unfit, DatabaseUnavailable, KeyboardInterrupt) as error:
        if committing:
            why = getattr(error, "reason", None) or str(error) or "interrupted"
            raise CopyRefused(f"the copy is there whole or not at all, but was not confirmed: {why}") from None
        if isinstance(error, schema.Unfit):
            raise CopyRefused(f"URL names {error}") from None
        if isinstance(error, KeyboardInterrupt):
            raise CopyRefused("interrupted: nothing was copied") from None
        raise


def _prepare(connection: Connection, source: Source) -> None:
    """Makes the tables where there are none, and locks them: nobody reads of a key there before all are there."""
    raw = driver(connection)
    if identity(raw) == source.identity():
        raise CopyRefused("URL names the database that is to be copied")
    lift_limits(raw)
    connection.execute(text(f"SELECT {DURABLE}"))
    found = schema.lock(connection)
    if found is None:
        schema.bring_up_to_date(connection, found)
    elif found != SCHEMA:
        raise schema.Unfit(f"a database whose schema is {found!a}, where a copy needs {SCHEMA!a} or none")
    lock_tables(raw, sql.SQL("ACCESS EXCLUSIVE"))
    for table in db.metadata.sorted_tables:
        _require_empty(raw, table)


def _require_empty(raw: PatientConnection, table: Table) -> None:
    """A start leaves facts about itself and a link to the console, instead of which those of the source count."""
    name = sql.Identifier(table.name)
    if table in (service_facts, sessions):
        raw.execute(sql.SQL("DELETE FROM {}").format(name))
    elif raw.execute(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(name)).fetchone() is not None:
        raise schema.Unfit(f"a database that is not empty: its table {table.name} has rows")


def _copy(raw: PatientConnection, held: HeldSource, progress: Progress) -> dict[str, int]:
    tables = db.metadata.sorted_tables
    total, before = sum(held.count(table) for table in tables), 0
    copied = {}
    for table in tables:
        report = partial(_report, progress, before, total)
        copied[table.name] = _copy_table(raw, held, table, report)
        before += copied[table.name]
        if table.autoincrement_column is not None:
            _go_on_counting(raw, table.autoincrement_column, held.next_number(table.autoincrement_column))
    return copied


def _report(progress: Progress, before: int, total: int, rows: int) -> None:
    progress(before + rows, total)


def _copy_table(raw: PatientConnection, held: HeldSource, table: Table, report: Callable[[int], None]) -> int:
    """Reports now and then, and returns at the end, the number of rows that are copied."""
    number = 0
    query = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), names(table.columns))
    with (
        _naming_the_row(),
        closing(held.rows(table)) as rows,
        raw.cursor() as cursor,
        cursor.copy(query) as copy,
        _leaving_at_once(raw),
    ):
        for number, row in enumerate(rows, 1):
            copy.write_row(row)
            if number % BATCH == 0:
                go_on(raw)
                report(number)
    go_on(raw)
    report(number)
    return number


def _go_on_counting(raw: PatientConnection, column: Column[int], number: int) -> None:
    """ALTER SEQUENCE, unlike setval, is undone with the transaction."""
    ask = sql.SQL("SELECT pg_get_serial_sequence({}, {})").format(column.table.name, column.name)
    [sequence] = raw.execute(ask).fetchone() or [None]
    raw.execute(f"ALTER SEQUENCE {sequence} RESTART WITH {number}".encode())


@contextmanager
def _leaving_at_once(raw: PatientConnection) -> Iterator[None]:
    """After a Ctrl-C a server that waits for something else gets LEAVE to hear that the COPY ends; then it is left."""
    try:
        yield
    except BaseException:
        raw.deadline = time.monotonic() + LEAVE
        raise


@contextmanager
def _naming_the_row() -> Iterator[None]:
    """Raises CopyRefused for a row that the server refuses. Its own words about the row would show it."""
    try:
        yield
    except psycopg.Error as error:
        where = re.match(r"COPY (\w+), line (\d+)", error.diag.context or "")
        if where is None or not (error.sqlstate or "").startswith(OF_A_ROW):
            raise
        why = f"row {where[2]} of {where[1]}, in the order of the primary key: {error.diag.message_primary}"
        raise CopyRefused(f"PostgreSQL cannot hold {why}") from None
