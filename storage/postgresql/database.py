"""A PostgreSQL database: read on one pool of connections, written on another, and found again after a failover."""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    ExceptionContext,
    Executable,
    Row,
    Select,
    collate,
    create_engine,
    event,
    func,
    text,
)
from sqlalchemy.exc import SQLAlchemyError

from errors import DatabaseUnavailable
from storage.database import R, Storage
from storage.patience import waiting
from storage.postgresql.address import CONNECT_TIMEOUT, Address
from storage.postgresql.best_effort_writer import PostgresBestEffortWriter
from storage.postgresql.connection import (
    DURABLE,
    Clock,
    PatientConnection,
    check_out,
    commit,
    driver,
    engine_options,
    translated,
)
from storage.postgresql.writer_slots import WRITERS, WriterSlots

READERS = 16  # connections: more threads than these that check at once wait for a moment
SPARE = 0.3  # seconds that a server has to say that a lock did not come in time

T = TypeVar("T")
_PING = text("SELECT 1 FROM api_keys LIMIT 1")
# A transaction, what belongs to it, and the lock of its tenant, in one round trip.
_BEGIN = f"""
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT set_config('lock_timeout', '%dms', true), {DURABLE}, %s
""".encode()


def reader_options(address: Address) -> dict[str, Any]:
    """For create_engine: each statement is a transaction of its own."""
    return {**engine_options(address, READERS), "isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None}


class PostgresStorage(Storage):
    """One instance a process: a connection does not survive a fork."""

    def __init__(self, engine: Engine, address: Address) -> None:
        """`engine` has the options for reading."""
        self.engine = engine
        self._address = address
        self._process = os.getpid()
        self._clock = Clock()
        self._slots = WriterSlots()
        options = {**engine_options(address, WRITERS), "isolation_level": "AUTOCOMMIT"}  # it begins by itself (_BEGIN)
        self._writers = create_engine("postgresql+psycopg://", **options)
        for each in (self.engine, self._writers):
            event.listen(each, "connect", self._share_clock)
            event.listen(each, "handle_error", _note_standby)

    def first(self, statement: Executable) -> Row[Any] | None:
        return self._read(lambda connection: connection.execute(statement).first())

    def all(self, statement: Executable) -> Sequence[Row[Any]]:
        return self._read(lambda connection: connection.execute(statement).all())

    def prepare(self, statement: Select[Any], make_row: Callable[[Iterable[Any]], R]) -> Callable[[str], R | None]:
        compiled = statement.compile(dialect=self.engine.dialect)
        query, [name] = str(compiled).encode(), compiled.params

        def look_up(value: str) -> R | None:
            row = self._read(lambda connection: driver(connection).execute(query, {name: value}).fetchone())
            return make_row(row) if row is not None else None

        return look_up

    def ascii_lower(self, column: ColumnElement[str]) -> ColumnElement[str]:
        return func.lower(collate(column, "C"))

    def ping(self) -> None:
        self.first(_PING)

    @contextmanager
    def write(self, *tenants: str) -> Iterator[Connection]:
        """Holds a lock on each tenant to its end. Each statement sees all that was committed before it began."""
        self.check()
        with waiting() as deadline, self._slots.slot(), translated(self._address):
            connection = self._use(self._writers, deadline, lambda connection: _begin(connection, tenants, deadline))
            self._slots.lock_acquired()
            raw = driver(connection)
            try:
                yield connection
                commit(connection)
            finally:
                raw.deadline = time.monotonic() + SPARE
                connection.close()  # which rolls back what was not committed

    def best_effort_writer(self) -> PostgresBestEffortWriter:
        return PostgresBestEffortWriter(self._address, self._clock)

    def check(self) -> None:
        if os.getpid() != self._process:
            raise DatabaseUnavailable("the database was opened before a fork; load the application in each worker")

    def hurry(self, seconds: float) -> None:
        self._clock.ends_at = time.monotonic() + seconds

    def watch_writers(self, note: Callable[[int], None]) -> None:
        self._slots.watch = note

    def tidy(self) -> None:
        pass

    def settle(self) -> None:
        pass

    def close(self) -> None:
        self.engine.dispose()
        self._writers.dispose()

    def _share_clock(self, connection: PatientConnection, _: object) -> None:
        connection.clock = self._clock

    def _read(self, query: Callable[[Connection], T]) -> T:
        def read(connection: Connection) -> T:
            result = query(connection)
            connection.close()
            return result

        self.check()
        with waiting() as deadline, translated(self._address):
            return self._use(self.engine, deadline, read)

    def _use(self, engine: Engine, deadline: float, use: Callable[[Connection], T], *, again: bool = True) -> T:
        """Connects and calls. After a failover the connections of the pool are broken, and a new one is made, once."""
        connection = check_out(engine, deadline)
        raw = driver(connection)
        try:
            return use(connection)
        except BaseException as error:
            is_worth_it = again and raw.closed and time.monotonic() < deadline - CONNECT_TIMEOUT
            if raw.closed or not isinstance(error, SQLAlchemyError | psycopg.Error):
                connection.invalidate()
            raw.deadline = time.monotonic() + SPARE
            connection.close()
            if not is_worth_it:
                raise
        engine.dispose()
        return self._use(engine, deadline, use, again=False)


def _begin(connection: Connection, tenants: Iterable[str], deadline: float) -> Connection:
    patience = max(1, int((deadline - SPARE - time.monotonic()) * 1000))
    connection.begin()  # for SQLAlchemy, which sends nothing
    driver(connection).execute(_BEGIN % (patience, _locks_of(tenants)))
    return connection


def _locks_of(tenants: Iterable[str]) -> bytes:
    """Always in the same order, so that two transactions never wait for each other."""
    locks = sorted(_lock_of(tenant) for tenant in set(tenants) or {""})
    return ", ".join(f"pg_advisory_xact_lock({lock})" for lock in locks).encode()


def _lock_of(tenant: str) -> int:
    digest = hashlib.sha256(f"keyhook tenant {tenant}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


def _note_standby(context: ExceptionContext) -> None:
    """Leaves a server that takes no writes any more: the next connection is to one that does."""
    if isinstance(context.original_exception, psycopg.errors.ReadOnlySqlTransaction):
        context.is_disconnect = True
