"""A connection to the SQLite file: its settings, the marks in the file, and the translation of errors."""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from sqlalchemy import Connection, pool
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.schema import ColumnCollectionConstraint

from errors import DatabaseUnavailable
from models import db
from storage.database import UniqueViolation
from storage.sqlite.write_queue import BUSY_TIMEOUT

HEADER = 100  # bytes of a database file
# In the header: the first bytes of every SQLite file, `user_version` and `application_id`.
MAGIC, STAMP, COUNT = slice(0, 16), slice(60, 64), slice(68, 72)
MAX_COUNT = 2**31 - 1  # then the count of changes starts again at 0


def connect(path: Path | str, mode: str = "rw") -> sqlite3.Connection:
    """A connection that never creates the file (`mode=rw`) and leaves transactions to the caller."""
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")  # the author of the file may call no function from within it
    return connection


def mark_identity(connection: sqlite3.Connection) -> None:
    """Writes a random `user_version`, so that another database in this place, or a copy, is detected."""
    connection.execute(f"PRAGMA user_version = {secrets.randbelow(2**31 - 1) + 1}")


def count_change(connection: sqlite3.Connection) -> None:
    """Counts a change in the header, within its transaction.

    So each change writes page 1, with the mark of the database and the number of the change, which tell whether a WAL
    belongs to a file (wal). SQLite's own counter does not count every transaction in WAL mode.
    """
    count = connection.execute("PRAGMA application_id").fetchone()[0]
    connection.execute(f"PRAGMA application_id = {(count + 1) & MAX_COUNT}")


def engine_options(path: Path) -> dict[str, Any]:
    """Options for create_engine. No pool: the storage keeps connections, so that no thread waits for one."""
    return {
        "creator": lambda: connect(path),
        "poolclass": pool.NullPool,
        "isolation_level": "AUTOCOMMIT",
        "hide_parameters": True,  # parameters hold hashes
    }


class ErrorTranslation:
    """Raises SQLite's errors as DatabaseUnavailable, except violated constraints and our own mistakes.

    It is a class because a generator would cost three microseconds of every check.
    """

    OURS = (IntegrityError, ProgrammingError, sqlite3.IntegrityError, sqlite3.ProgrammingError)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (SQLAlchemyError, sqlite3.Error)) and not isinstance(error, self.OURS):
            raise DatabaseUnavailable(str(getattr(error, "orig", None) or error)) from error


@contextmanager
def unique_violations() -> Iterator[None]:
    """Raises UniqueViolation for a broken unique constraint; other errors pass unchanged."""
    try:
        yield
    except IntegrityError as error:
        kind, _, columns = str(error.orig).partition(": ")
        if kind != "UNIQUE constraint failed":
            raise
        raise UniqueViolation(_constraint_on(set(columns.split(", ")))) from error


def _constraint_on(columns: set[str]) -> str:
    """The name of a unique constraint. SQLite tells only its columns, and in an early release it has no name."""
    for table in db.metadata.tables.values():
        for constraint in table.constraints:
            if isinstance(constraint, ColumnCollectionConstraint) and set(map(str, constraint.columns)) == columns:
                return str(constraint.name)
    return ", ".join(sorted(columns))


def execute_raw(connection: Connection, statement: str) -> None:
    """Runs a statement without parameters past SQLAlchemy's compiler, since every write has some."""
    dbapi_connection(connection).execute(statement)


def dbapi_connection(connection: Connection) -> sqlite3.Connection:
    """The underlying DB-API connection."""
    return cast(sqlite3.Connection, connection.connection.dbapi_connection)
