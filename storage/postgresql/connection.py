"""A connection to PostgreSQL: how long it waits, and its errors in the words of the service.

No session holds any state and no statement is prepared under a name, so pgbouncer may lend a connection of the server
for one transaction at a time.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self, cast

import psycopg
from psycopg.abc import RV, PQGen, PQGenConn
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg.waiting import Ready
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from errors import DatabaseUnavailable
from storage.database import UniqueViolation
from storage.patience import PATIENCE
from storage.postgresql.address import Address

POLL = 0.05  # seconds between two looks at the clock while the server says nothing
# The SQLSTATEs, or their first characters, of a database that cannot do at the moment what it should: no connection, a
# standby, no such user, database, schema, right or table, a deadlock, no memory or disk, a lock, an operator, a fault.
UNAVAILABLE = ("08", "25006", "28", "3D", "3F", "40", "42501", "42P01", "53", "55", "57", "58", "XX")
# A column of a SELECT. The commit is on the disk then, and on that of a synchronous standby, whatever the server's own
# setting is.
DURABLE = """
set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local')
                                      THEN 'on' ELSE current_setting('synchronous_commit') END, true)
"""
_CONNECTED_BY: ContextVar[float] = ContextVar("connected by", default=math.inf)  # time.monotonic


class Clock:
    """When the service ends: no connection waits any longer."""

    def __init__(self) -> None:
        self.ends_at = math.inf  # time.monotonic


class PatientConnection(psycopg.Connection[TupleRow]):
    """Waits until its deadline and no longer, whether the server is slow, frozen, or gone without a word."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.deadline = math.inf  # time.monotonic
        self.clock = Clock()
        self.warnings: list[str] = []
        self.add_notice_handler(self._note)

    @classmethod
    def _connect_gen(cls, *args: Any, **kwargs: Any) -> PQGenConn[Self]:
        """Gives each host of an address half of the time that is left: some may be dark, and the last one good."""
        attempt, started = super()._connect_gen(*args, **kwargs), time.monotonic()
        ends_at = started + (_CONNECTED_BY.get() - started) / 2
        try:
            wanted = next(attempt)
            while True:
                ready = yield wanted
                if ready == Ready.NONE and time.monotonic() > ends_at:
                    raise psycopg.errors.ConnectionTimeout("no connection in time")
                wanted = attempt.send(ready)
        except StopIteration as end:
            return cast(Self, end.value)

    def wait(self, gen: PQGen[RV], interval: float = POLL, timeout: float | None = None) -> RV:
        """Closes the connection if nobody will read the answer to a command that is under way. The driver does not do
        so when it finds the socket gone: the pool would lend it again, to fail once more.
        """
        try:
            return super().wait(self._until_deadline(gen), interval, timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise

    def _until_deadline(self, gen: PQGen[RV]) -> PQGen[RV]:
        """Breaks off at the deadline. What the server does then is unknown, so the connection is closed."""
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready == Ready.NONE and time.monotonic() > min(self.deadline, self.clock.ends_at):
                    self.pgconn.finish()
                    raise psycopg.OperationalError("the server does not answer in time")
                wanted = gen.send(ready)
        except StopIteration as end:
            return cast(RV, end.value)

    def _note(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self.warnings.append(notice.message_primary or "")


def connect(address: Address) -> PatientConnection:
    connection = PatientConnection.connect(address.text, prepare_threshold=None)
    connection.deadline = min(_CONNECTED_BY.get(), time.monotonic() + PATIENCE)  # for what SQLAlchemy asks first
    return connection


def check_out(engine: Engine, deadline: float) -> Connection:
    """A connection of the pool, or a new one; neither it nor what it is used for takes longer than that."""
    outer = _CONNECTED_BY.set(deadline)
    try:
        connection = engine.connect()
    finally:
        _CONNECTED_BY.reset(outer)
    driver(connection).deadline = deadline
    return connection


def driver(connection: Connection) -> PatientConnection:
    """The connection of the driver under one of SQLAlchemy's."""
    return cast(PatientConnection, connection.connection.dbapi_connection)


def commit(connection: Connection) -> None:
    """A server that stops waiting for its synchronous standby commits all the same, with no more than a warning."""
    raw = driver(connection)
    raw.warnings.clear()
    connection.commit()
    if raw.warnings:
        raise DatabaseUnavailable(f"the commit is in doubt: {raw.warnings[0]}")


def reason(address: Address, error: BaseException) -> str:
    """The error in one line, without the password."""
    return address.hide(str(getattr(error, "orig", None) or error))


def engine_options(address: Address, connections: int) -> dict[str, Any]:
    """For create_engine: a pool of at most so many connections."""
    return {
        "creator": lambda: connect(address),
        "pool_size": connections,
        "max_overflow": 0,
        "pool_timeout": PATIENCE / 2,
        "pool_use_lifo": True,
        "use_native_hstore": False,
        "hide_parameters": True,  # they hold hashes
    }


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """Raises UniqueViolation and DatabaseUnavailable for errors that are so; a mistake of our own passes as it is."""
    try:
        yield
    except (SQLAlchemyError, psycopg.Error) as error:
        cause = getattr(error, "orig", None) or error
        if isinstance(cause, psycopg.errors.UniqueViolation):
            raise UniqueViolation(cause.diag.constraint_name or "") from error
        if _is_unavailable(cause):
            raise DatabaseUnavailable(reason(address, error)) from error
        raise


def _is_unavailable(error: BaseException) -> bool:
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        return error.sqlstate.startswith(UNAVAILABLE)
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | PoolTimeout)
