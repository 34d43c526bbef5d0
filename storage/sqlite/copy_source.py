"""A file of SQLite as the source of a copy.

A column of SQLite takes a value of any type and length, so each one is held to what its table declares.
"""

import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Boolean, Column, Integer, String, Table, literal_column, select
from sqlalchemy.dialects import sqlite

from models import api_keys
from storage.source import CopyRefused, HeldSource, Source
from storage.sqlite.connection import ErrorTranslation, connect

Reader = Callable[[Any], Any]  # the value as the table declares it; raises ValueError, which says nothing of it


class SqliteSource(Source):
    def __init__(self, path: Path) -> None:
        self._path = path

    def identity(self) -> str:
        return ""

    @contextmanager
    def hold(self) -> Iterator[HeldSource]:
        """Holds the write lock. Nothing is written, and closing the connection ends the transaction."""
        with closing(connect(self._path)) as connection:
            connection.text_factory = _text_or_bytes
            with ErrorTranslation():
                connection.execute("BEGIN IMMEDIATE")
            yield HeldSqlite(connection)


class HeldSqlite(HeldSource):
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def count(self, table: Table) -> int:
        return self._number(f'SELECT count(*) FROM "{table.name}"')  # noqa: S608  (a name of ours)

    def rows(self, table: Table) -> Generator[tuple[Any, ...], None, None]:
        # An id is what a list of keys shows. Elsewhere the primary key may be a secret, or the hash of one.
        label = "id" if table is api_keys else "rowid"
        chosen = select(literal_column(label), *table.columns).order_by(*table.primary_key.columns)
        query = str(chosen.compile(dialect=sqlite.dialect()))
        readers = [_reader(column) for column in table.columns]
        with ErrorTranslation():
            for name, *values in self._connection.execute(query):
                try:
                    row = tuple([read(value) for read, value in zip(readers, values, strict=True)])
                except ValueError as error:
                    where = f"the row of {table.name} with {label} {name!a:.40}"
                    raise CopyRefused(f"PostgreSQL cannot hold {where}: {error}") from None
                yield row

    def next_number(self, column: Column[Any]) -> int:
        """As SQLite itself chooses it for AUTOINCREMENT."""
        table = column.table.name
        given = self._number("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?", table)
        return 1 + max(given, self._number(f'SELECT coalesce(max(rowid), 0) FROM "{table}"'))  # noqa: S608

    def _number(self, query: str, *values: str) -> int:
        with ErrorTranslation():
            return int(self._connection.execute(query, values).fetchone()[0])


def _text_or_bytes(stored: bytes) -> str | bytes:
    """A text; bytes if it is none. SQLite's own error would show the text."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


def _reader(column: Column[Any]) -> Reader:
    convert: Reader | None = None
    if isinstance(column.type, Boolean):
        convert = _boolean
    elif isinstance(column.type, Integer):
        convert = _number
    elif isinstance(column.type, String):
        convert = partial(_text, column.type.length)

    def read(value: Any) -> Any:
        try:
            if value is None and not column.nullable:
                raise ValueError("is missing")
            return value if value is None or convert is None else convert(value)
        except ValueError as error:
            raise ValueError(f"its {column.name} {error}") from None

    return read


def _boolean(value: Any) -> bool:
    if value not in (0, 1):
        raise ValueError("is neither 0 nor 1")
    return bool(value)


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise ValueError("is no whole number")
    return value


def _text(most: int | None, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is no text in UTF-8")
    if "\0" in value:
        raise ValueError("holds U+0000")
    if most is not None and len(value) > most:
        raise ValueError(f"has more than {most} characters")
    return value
