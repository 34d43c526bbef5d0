"""The SQLite file: the one place that opens it, reads it, queues for its write lock and notices when it is not itself.

Everything here turns a failing database into `DatabaseUnavailable`; a violated constraint passes through as it is.
"""

import os
import sqlite3
import threading
import time
from collections import deque, namedtuple
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, Executable, Row, Select, pool, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError

from errors import DatabaseUnavailable

BUSY_TIMEOUT = 5.0  # seconds that a write waits for its turn and the lock, together
STALLED = 0.5  # seconds without a finished write after which only WAITING writers may stay
WAITING = 4  # of the 8 threads of the recommended server, so that the others go on answering checks
MAGIC = b"SQLite format 3\0"

T = TypeVar("T")
_PING = text("SELECT 1 FROM api_keys LIMIT 1")


def connect(path: Path, mode: str = "rw") -> sqlite3.Connection:
    """A connection that never creates the file (`mode=rw`) and leaves transactions to the caller."""
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def engine_options(path: Path) -> dict[str, Any]:
    """For create_engine. No pool: `Storage` keeps the connections, so that a thread never waits for one."""
    return {
        "creator": lambda: connect(path),
        "poolclass": pool.NullPool,
        "isolation_level": "AUTOCOMMIT",
        "hide_parameters": True,  # they hold hashes
    }


class Storage:
    """One database file, open for as long as the process runs. One instance a file and process."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self.path = path
        self._wal = f"{path}-wal"
        self.engine = engine
        self._idle: deque[Connection] = deque()
        self._idle_drivers: deque[sqlite3.Connection] = deque()
        self._queue = WriteQueue()
        self._writer: Connection | None = None
        # Held to the end: while one connection is open, SQLite never removes the WAL file, so its identity is fixed.
        self._anchor = self.engine.connect()
        self._anchor.exec_driver_sql("SELECT count(*) FROM api_keys WHERE 0").all()
        self._identity = self._look()[0]
        # Never closed while a connection is open: closing any descriptor of the file drops SQLite's POSIX locks.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._modified = 0
        self._overwritten = False
        self.check_file()

    def close(self) -> None:
        """Closes everything; for tests and tools, since a server just ends."""
        while self._idle:
            self._idle.pop().close()
        while self._idle_drivers:
            self._idle_drivers.pop().close()
        for connection in (self._writer, self._anchor):
            if connection is not None:
                connection.close()
        os.close(self._descriptor)

    def first(self, statement: Executable, parameters: dict[str, Any] | None = None) -> Row[Any] | None:
        """The first row as of now, or None. Raises DatabaseUnavailable."""
        return self._read(lambda connection: connection.execute(statement, parameters).first())

    def look_up(self, lookup: "Lookup", value: str) -> Any:
        """The row of a Lookup as of now, or None. Raises DatabaseUnavailable."""
        self.check_file()
        try:
            try:
                connection = self._idle_drivers.pop()
            except IndexError:
                connection = connect(self.path)
            try:
                values = connection.execute(lookup.text, (value,)).fetchone()
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise DatabaseUnavailable(str(error)) from error
        self._idle_drivers.append(connection)
        return values and lookup.make_row(values)

    def all(self, statement: Executable, parameters: dict[str, Any] | None = None) -> Sequence[Row[Any]]:
        """Every row as of now. Raises DatabaseUnavailable."""
        return self._read(lambda connection: connection.execute(statement, parameters).all())

    def ping(self) -> None:
        """Raises DatabaseUnavailable unless a table of the database can be read."""
        self.first(_PING)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that holds the write lock from its first statement and is on the disk when it ends.

        Raises DatabaseUnavailable when the lock does not come within BUSY_TIMEOUT, too many wait already, the file
        cannot be written, or it was moved away or replaced before the commit was done.
        """
        with self._queue.turn() as patience, translated():
            self.check_writable()
            connection = self._writer or self.engine.connect()
            self._writer = None  # put back only when all is well
            try:
                control(connection, f"PRAGMA busy_timeout = {int(patience * 1000)}")
                control(connection, "BEGIN IMMEDIATE")
                yield connection
                control(connection, "COMMIT")
            except BaseException as error:
                self._give_up(connection, broken=isinstance(error, (sqlite3.Error, DBAPIError)))
                raise
            self._writer = connection
            self.check_file()

    def loose_writer(self) -> "LooseWriter":
        """For what may be lost: see LooseWriter."""
        return LooseWriter(self)

    def check_file(self) -> None:
        """Raises DatabaseUnavailable when the path no longer leads to the file that was opened at the start.

        By `stat`, since opening and closing the file would drop SQLite's locks. Its first bytes are looked at, through
        a descriptor that stays open, whenever the file was modified: what was written over in place is not ours either,
        and what the connections still have of it in memory cannot be trusted from then on.
        """
        try:
            identity, modified = self._look()
        except OSError as error:
            raise DatabaseUnavailable(f"the database file is gone: {error.strerror}") from None
        if identity != self._identity:
            raise DatabaseUnavailable("the database file was replaced")
        if modified != self._modified:
            self._overwritten |= os.pread(self._descriptor, len(MAGIC), 0) != MAGIC
            self._modified = modified
        if self._overwritten:
            raise DatabaseUnavailable("the database file was overwritten; restore it and start again")

    def _look(self) -> tuple[tuple[int, int, int, int], int]:
        main, wal = os.stat(self.path), os.stat(self._wal)
        return (main.st_dev, main.st_ino, wal.st_dev, wal.st_ino), main.st_mtime_ns

    def check_writable(self) -> None:
        self.check_file()
        for place in (self.path.parent, self.path):
            if not os.access(place, os.W_OK):
                raise DatabaseUnavailable(f"{place.name} is read-only")

    def _read(self, query: Callable[[Connection], T]) -> T:
        self.check_file()
        with translated():
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self.engine.connect()
            try:
                result = query(connection)
            except BaseException:
                connection.close()
                raise
        self._idle.append(connection)
        return result

    def _give_up(self, connection: Connection, *, broken: bool) -> None:
        with suppress(sqlite3.Error):  # there may be no transaction, or SQLite has rolled it back itself
            control(connection, "ROLLBACK")
        if broken:  # a violated constraint counts as that too: cheap, and rare
            connection.close()
        else:
            self._writer = connection


class Lookup:
    """A SELECT by one value for the hot path: compiled once, and run by the driver itself in a third of the time.

    Its rows are named tuples of what the driver gives, so that a Boolean is 0 or 1.
    """

    def __init__(self, statement: Select[Any]) -> None:
        self.text = str(statement.compile(dialect=sqlite.dialect()))
        row = namedtuple("Row", statement.selected_columns.keys())  # type: ignore[misc]
        self.make_row: Callable[[Iterable[Any]], Any] = row._make


class LooseWriter:
    """Writes that never wait for a lock and may be lost in a power cut: a connection that does not sync its commits."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._connection: Connection | None = None

    def execute(self, statement: Executable, rows: list[dict[str, Any]]) -> None:
        """One transaction with the statement for each row. Raises DatabaseUnavailable, at once when locked."""
        self._storage.check_writable()
        with translated():
            connection = self._connection or self._open()
            self._connection = None
            try:
                control(connection, "BEGIN IMMEDIATE")
                connection.execute(statement, rows)
                control(connection, "COMMIT")
            except BaseException:
                connection.close()
                raise
            self._connection = connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _open(self) -> Connection:
        connection = self._storage.engine.connect()
        control(connection, "PRAGMA synchronous = NORMAL")
        control(connection, "PRAGMA busy_timeout = 0")
        return connection


class WriteQueue:
    """Lets writers in one at a time, and bounds how many wait when nothing moves.

    SQLite has one write lock for all processes. A queue that moves may be long; one that stands still (another process
    holds the lock) keeps WAITING writers and refuses the rest at once, or they would fill every thread of the server
    and starve the checks.
    """

    def __init__(self) -> None:
        self._places = threading.Semaphore(WAITING)
        self._turn = threading.Lock()
        self._moved = time.monotonic()

    @contextmanager
    def turn(self) -> Iterator[float]:
        """Yields the seconds that are left to wait for SQLite's own lock. Raises DatabaseUnavailable."""
        deadline = time.monotonic() + BUSY_TIMEOUT
        self._take_place(deadline)
        try:
            if not self._turn.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise DatabaseUnavailable("the write lock did not come in time")
            try:
                yield max(0.0, deadline - time.monotonic())
            finally:
                self._moved = time.monotonic()
                self._turn.release()
        finally:
            self._places.release()

    def _take_place(self, deadline: float) -> None:
        if not self._turn.locked():
            self._moved = time.monotonic()
        while not self._places.acquire(timeout=0.02):
            moment = time.monotonic()
            if moment - self._moved > STALLED or moment > deadline:
                raise DatabaseUnavailable("too many writers are waiting for the lock")


@contextmanager
def translated() -> Iterator[None]:
    """SQLite's errors as DatabaseUnavailable, but for a violated constraint and for mistakes of our own."""
    try:
        yield
    except (IntegrityError, ProgrammingError):
        raise
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise DatabaseUnavailable(str(getattr(error, "orig", None) or error)) from error


def control(connection: Connection, statement: str) -> None:
    """A statement without parameters, past SQLAlchemy's compiler: these three come with every write."""
    dbapi_connection = connection.connection.dbapi_connection
    assert dbapi_connection is not None  # noqa: S101  (for the type checker: it is open)
    dbapi_connection.cursor().execute(statement)
