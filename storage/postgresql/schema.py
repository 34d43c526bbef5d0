"""The schema in a PostgreSQL database, as a start and a copy find it and make it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Connection, create_engine, inspect, pool, text
from sqlalchemy.exc import SQLAlchemyError

from models import db
from storage import migrate
from storage.postgresql.address import Address
from storage.postgresql.connection import connect, driver, reason

OLDEST = (14,)
PATIENCE = 60.0  # seconds for the migrations, those of another process included
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('keyhook schema', 0))")


class Unfit(Exception):
    """A database that the service cannot use, in words that follow "the setting names"."""


@contextmanager
def connection_to(address: Address) -> Iterator[Connection]:
    """A connection for one transaction. Raises Unfit, also for every error of the driver within."""
    options = {"creator": lambda: connect(address), "use_native_hstore": False, "poolclass": pool.NullPool}
    engine = create_engine("postgresql+psycopg://", isolation_level="READ COMMITTED", **options)
    try:
        with engine.connect() as connection:
            driver(connection).deadline = time.monotonic() + PATIENCE
            try:
                _require_server(connection)
                yield connection
            except BaseException:
                connection.invalidate()  # a rollback on a lost connection would raise an error of its own
                raise
    except (SQLAlchemyError, psycopg.Error) as error:
        raise Unfit(f"a database that cannot be used: {reason(address, error)}") from None


def is_newest(connection: Connection) -> bool:
    return migrate.is_newest(_version(connection) or "")


def lock(connection: Connection) -> str | None:
    """Until the transaction ends, another process that starts waits. Returns the version; None: there is no schema."""
    connection.execute(_LOCK)
    return _version(connection)


def bring_up_to_date(connection: Connection, found: str | None) -> None:
    """Makes the tables, or runs the migrations since the version `found`, in the caller's transaction. Raises Unfit."""
    if found is None:
        _require_no_tables(connection)
    elif not migrate.is_known(found):
        raise Unfit(f"a database whose schema {found!a} is unknown here: a newer version has written it")
    migrate.bring_up_to_date(connection)


def _version(connection: Connection) -> str | None:
    """Of the schema. None: there are no tables of the service, or of a program that writes versions as it does."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = list(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())
    return " ".join(map(str, found)) or None


def _require_server(connection: Connection) -> None:
    version = connection.dialect.server_version_info or ()
    if version < OLDEST:
        raise Unfit(f"a PostgreSQL {version[0]}; this service needs {OLDEST[0]} or newer")
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise Unfit(f"a database in {encoding}; names of keys need UTF8")


def _require_no_tables(connection: Connection) -> None:
    there = sorted(set(inspect(connection).get_table_names()) & set(db.metadata.tables))
    if there:
        raise Unfit(f"a database that has a table {there[0]}, but no version of its schema")
