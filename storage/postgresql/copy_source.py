"""A PostgreSQL database as the source of a copy."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Column, Table

from storage.postgresql.address import Address
from storage.postgresql.connection import PatientConnection, connect, translated
from storage.postgresql.long_transaction import go_on, identity, lift_limits, lock_tables, names
from storage.source import HeldSource, Source

BATCH = 1000  # rows that are fetched at a time


class PostgresSource(Source):
    def __init__(self, address: Address) -> None:
        self._address = address

    def identity(self) -> str:
        with translated(self._address), closing(connect(self._address)) as connection:
            return identity(connection)

    @contextmanager
    def hold(self) -> Iterator[HeldSource]:
        """Holds locks that only readers pass, in one transaction."""
        with translated(self._address):
            connection = connect(self._address)
        with closing(connection):
            with translated(self._address):
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                go_on(connection)
                lift_limits(connection)
                lock_tables(connection, sql.SQL("EXCLUSIVE"))  # before the snapshot that all queries have
            yield HeldPostgres(connection, self._address)


class HeldPostgres(HeldSource):
    def __init__(self, connection: PatientConnection, address: Address) -> None:
        self._connection = connection
        self._address = address

    def count(self, table: Table) -> int:
        return self._number(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table.name)))

    def rows(self, table: Table) -> Generator[tuple[Any, ...], None, None]:
        query = sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
            names(table.columns), sql.Identifier(table.name), names(table.primary_key)
        )
        with translated(self._address), self._connection.cursor("keyhook_copy") as cursor:
            go_on(self._connection)
            cursor.execute(query)
            while batch := cursor.fetchmany(BATCH):
                yield from batch
                go_on(self._connection)

    def next_number(self, column: Column[Any]) -> int:
        table, name = sql.Identifier(column.table.name), sql.Identifier(column.name)
        ask_sequence = sql.SQL("SELECT pg_get_serial_sequence({}, {})").format(column.table.name, column.name)
        with translated(self._address):
            [sequence] = self._connection.execute(ask_sequence).fetchone() or [None]
        largest = self._number(sql.SQL("SELECT coalesce(max({}), 0) FROM {}").format(name, table))
        given = self._number(f"SELECT last_value + is_called::int FROM {sequence}".encode())  # noqa: S608  (quoted there)
        return max(given, largest + 1)

    def _number(self, query: sql.Composed | bytes) -> int:
        go_on(self._connection)
        with translated(self._address):
            [number] = self._connection.execute(query).fetchone() or [0]
            return int(number)
