"""Before the first request: a database that answers, of the newest schema; or a StartupError.

Any number of processes may start at once. The schema is made or changed in one transaction, under a lock: each of them
finds it whole.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Connection, create_engine, inspect, pool, text
from sqlalchemy.exc import SQLAlchemyError

from errors import StartupError
from models import db
from storage import migrate
from storage.postgresql.address import Address
from storage.postgresql.connection import connect, driver

OLDEST = (14,)
PATIENCE = 60.0  # seconds for the migrations, those of another process included
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('keyhook schema', 0))")


def provision(address: Address, *, required: bool) -> bool:
    """Makes the tables or brings them up to date; returns whether they are new. Raises StartupError.

    `required`: the tables have to be there.
    """
    with _refusing(address), _connection(address) as connection:
        _require_server(connection)
        if _version(connection) is not None and migrate.is_newest(_version(connection) or ""):
            return False
        connection.rollback()
        connection.execute(_LOCK)
        found = _version(connection)
        if found is None:
            _require_empty(connection, required=required)
        elif not migrate.is_known(found):
            raise _refusal(f"names a database whose schema {found!a} is unknown here: a newer version has written it")
        migrate.bring_up_to_date(connection)
        connection.commit()
        return found is None


@contextmanager
def _connection(address: Address) -> Iterator[Connection]:
    options = {"creator": lambda: connect(address), "use_native_hstore": False, "poolclass": pool.NullPool}
    with create_engine("postgresql+psycopg://", **options).connect() as connection:
        driver(connection).deadline = time.monotonic() + PATIENCE
        yield connection


def _require_server(connection: Connection) -> None:
    version = connection.dialect.server_version_info or ()
    if version < OLDEST:
        raise _refusal(f"names a PostgreSQL {version[0]}; this service needs {OLDEST[0]} or newer")
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise _refusal(f"names a database in {encoding}; names of keys need UTF8")


def _version(connection: Connection) -> str | None:
    """Of the schema. None: there are no tables of the service, or of a program that writes versions as it does."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = list(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())
    return " ".join(map(str, found)) or None


def _require_empty(connection: Connection, *, required: bool) -> None:
    if required:
        raise StartupError("KEYHOOK_REQUIRE_DATABASE is 1, but the database has no tables of this service")
    there = sorted(set(inspect(connection).get_table_names()) & set(db.metadata.tables))
    if there:
        raise _refusal(f"names a database that has a table {there[0]}, but no version of its schema")


@contextmanager
def _refusing(address: Address) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, psycopg.Error) as error:
        why = address.hide(str(getattr(error, "orig", None) or error))
        raise _refusal(f"names a database that cannot be used: {why}") from None


def _refusal(why: str) -> StartupError:
    return StartupError(f"KEYHOOK_DATABASE_URL {why}")
