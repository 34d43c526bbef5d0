"""The SQLite file: reading, writing, upkeep.

SQLite has one write lock for the whole file, so the changes of all tenants come one after another.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

from sqlalchemy import ColumnElement, Connection, Engine, Executable, Row, Select, func, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError

from storage.database import R, Storage
from storage.sqlite.best_effort_writer import SqliteBestEffortWriter
from storage.sqlite.connection import (
    ErrorTranslation,
    count_change,
    dbapi_connection,
    execute_raw,
    unique_violations,
)
from storage.sqlite.watched_file import WatchedFile
from storage.sqlite.write_queue import WriteQueue

CHECKPOINT_TIMEOUT = 500  # milliseconds
LOCK_STEP = 100  # milliseconds of each wait for the lock; then the write checks whether it may go on waiting

T = TypeVar("T")
_PING = text("SELECT 1 FROM api_keys LIMIT 1")


def is_open_here(path: Path) -> bool:
    """Whether this process has the database open: then no code may open and close its files past SQLite."""
    return any(storage.is_at(path) for storage in _open)


class SqliteStorage(Storage):
    """One database file, open as long as the process runs. A process has one instance a file."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self.engine = engine
        self._idle: deque[tuple[Connection, sqlite3.Connection]] = deque()  # each with its DB-API connection
        self._queue = WriteQueue()
        self._writer: Connection | None = None
        # Open to the end: while a connection is open, SQLite never removes the files beside the database.
        self._anchor = self.engine.connect()
        self._anchor.exec_driver_sql("SELECT count(*) FROM api_keys WHERE 0").all()
        self._watched = WatchedFile(path)
        _open.add(self)

    def close(self) -> None:
        """Closes everything. With the last connection of all processes SQLite removes the WAL."""
        while self._idle:
            self._idle.pop()[0].close()
        for connection in (self._writer, self._anchor):
            if connection is not None:
                connection.close()
        self._watched.close()
        _open.discard(self)

    def is_at(self, path: Path) -> bool:
        """Whether the path leads to the file of this database."""
        return self._watched.is_at(path)

    def first(self, statement: Executable) -> Row[Any] | None:
        return self._read(lambda connection, _: connection.execute(statement).first())

    def all(self, statement: Executable) -> Sequence[Row[Any]]:
        return self._read(lambda connection, _: connection.execute(statement).all())

    def prepare(self, statement: Select[Any], make_row: Callable[[Iterable[Any]], R]) -> Callable[[str], R | None]:
        text = str(statement.compile(dialect=sqlite.dialect()))

        def look_up(value: str) -> R | None:
            values = self._read(lambda _, driver: driver.execute(text, (value,)).fetchone())
            return make_row(values) if values is not None else None

        return look_up

    def ascii_lower(self, column: ColumnElement[str]) -> ColumnElement[str]:
        return func.lower(column)

    def ping(self) -> None:
        self.first(_PING)

    @contextmanager
    def write(self, *tenants: str) -> Iterator[Connection]:
        """A transaction that holds SQLite's write lock from its start.

        Raises DatabaseUnavailable if the turn or the lock does not come in time, the file cannot be written, or the
        file was moved or replaced before the commit was done.
        """
        with self._queue.turn() as deadline, ErrorTranslation(), unique_violations():
            self._watched.check_writable()
            connection = self._take_writer()
            try:
                self._begin(connection, deadline)
                self._queue.lock_acquired()
                count_change(dbapi_connection(connection))
                yield connection
                execute_raw(connection, "COMMIT")
            except BaseException as error:
                self._give_up(connection, broken=isinstance(error, (sqlite3.Error, DBAPIError)))
                raise
            self._writer = connection
            self._watched.check()

    def hurry(self, seconds: float) -> None:
        self._queue.hurry(seconds)

    def watch_writers(self, note: Callable[[int], None]) -> None:
        self._queue.watch = note

    def best_effort_writer(self) -> SqliteBestEffortWriter:
        return SqliteBestEffortWriter(self.engine, self._watched.check_writable)

    def tidy(self) -> None:
        self._checkpoint("PASSIVE")

    def settle(self) -> None:
        self._checkpoint("TRUNCATE")

    def check(self) -> None:
        self._watched.check()

    def _checkpoint(self, mode: str) -> None:
        """Takes the WAL into the database file. PASSIVE takes the part that nobody uses, and never waits; TRUNCATE
        takes all, waits briefly for others, and leaves the WAL empty. Raises DatabaseUnavailable."""
        self._watched.check_writable()
        with ErrorTranslation(), closing(self.engine.connect()) as connection:
            execute_raw(connection, f"PRAGMA busy_timeout = {CHECKPOINT_TIMEOUT}")
            execute_raw(connection, f"PRAGMA wal_checkpoint({mode})")

    def _read(self, query: Callable[[Connection, sqlite3.Connection], T]) -> T:
        self._watched.check()
        with ErrorTranslation():
            try:
                pair = self._idle.pop()
            except IndexError:
                connection = self.engine.connect()
                pair = connection, dbapi_connection(connection)
            try:
                result = query(*pair)
            except BaseException:
                pair[0].close()
                raise
        self._idle.append(pair)
        return result

    def _take_writer(self) -> Connection:
        """The connection of writers, which is put back only after a success."""
        connection, self._writer = self._writer, None
        if connection is None:
            connection = self.engine.connect()
            execute_raw(connection, f"PRAGMA busy_timeout = {LOCK_STEP}")
        return connection

    def _begin(self, connection: Connection, deadline: float) -> None:
        """Waits for SQLite's lock in short steps, so that a request is still answered when the service ends."""
        while True:
            try:
                return execute_raw(connection, "BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or self._queue.is_over(deadline):
                    raise

    def _give_up(self, connection: Connection, *, broken: bool) -> None:
        with suppress(sqlite3.Error):  # there may be no transaction, or SQLite rolled it back itself
            execute_raw(connection, "ROLLBACK")
        if broken:  # a violated constraint counts too, which is cheap and rare
            connection.close()
        else:
            self._writer = connection


_open: WeakSet[SqliteStorage] = WeakSet()
