"""Statements that are compiled once and run by the driver itself."""

from collections import namedtuple
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection, Select, Table, insert
from sqlalchemy.dialects import sqlite

from storage.sqlite.connection import driver


class CompiledSelect:
    """A SELECT by one value for the hot path: compiled once, and run by the driver itself in a third of the time.

    Its rows are named tuples of what the driver gives, so that a Boolean is 0 or 1.
    """

    def __init__(self, statement: Select[Any]) -> None:
        self.text = str(statement.compile(dialect=sqlite.dialect()))
        row = namedtuple("Row", statement.selected_columns.keys())  # type: ignore[misc]
        self.make_row: Callable[[Iterable[Any]], Any] = row._make


class Insert:
    """An INSERT of rows of one table, compiled once and run by the driver itself in a third of the time."""

    def __init__(self, table: Table, *, default: Iterable[str] = ()) -> None:
        """`default` are the columns that take their default."""
        columns = [column.name for column in table.c if column.name not in set(default)]
        self.text = str(insert(table).compile(dialect=sqlite.dialect(paramstyle="named"), column_keys=columns))

    def run(self, connection: Connection, rows: Iterable[dict[str, Any]]) -> None:
        """A violated constraint is the driver's own sqlite3.IntegrityError."""
        driver(connection).executemany(self.text, rows)
