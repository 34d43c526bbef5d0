"""Inserts past SQLAlchemy's compiler, which takes as long as the database itself."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy import insert as insert_into

BATCH = 10_000  # values in one statement, since databases limit them


def batched(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """The values in parts, for one statement each."""
    for start in range(0, len(values), BATCH):
        yield values[start : start + BATCH]


def insert(transaction: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts rows with the same columns. A column that they lack takes its default.

    The two rows of a creation cost 75 µs less than by SQLAlchemy's own way, of 1,660 in all. `make bench` holds it
    to bcrypt and a bare insert.
    """
    text, order = _compiled(transaction.dialect, table, tuple(rows[0]))
    values = [tuple(row[name] for name in order) for row in rows] if order else list(rows)
    transaction.exec_driver_sql(text, values)


@lru_cache(maxsize=32)
def _compiled(dialect: Dialect, table: Table, columns: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The text, and the order of its values where the driver takes them by position."""
    compiled = insert_into(table).compile(dialect=dialect, column_keys=list(columns))
    return str(compiled), tuple(compiled.positiontup or ())
