"""Makes sure, before the first connection, that a complete database file of the newest schema is there.

A new file appears whole or not at all: it is made under another name, synced, and renamed. So an existing database is
complete. If one is missing beside its remains, it was lost, and no new one is made in its place.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import create_engine, pool
from sqlalchemy.exc import DBAPIError

from errors import StartupError
from storage import migrate
from storage.files import create_file, sync_directory, sync_file
from storage.sqlite.connection import connect, mark_identity
from storage.sqlite.wal import require_own_wal


def provision(path: Path, *companions: Path) -> bool:
    """Creates the database or brings it up to date; returns whether it is new. Raises StartupError.

    `companions` are files that a start makes with the database: if one is there without it, the database was lost.
    """
    if os.path.lexists(path):
        _bring_up_to_date(path)
        return False
    _refuse_orphans(path, *companions, Path(f"{path}-wal"), Path(f"{path}-journal"))
    _create(path)
    return True


def look_at_schema(connection: sqlite3.Connection) -> tuple[str, str]:
    """The reason not to use a database, or an empty text, and the version of its schema. Raises sqlite3.Error."""
    found = [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")]
    if len(found) != 1 or not migrate.is_known(found[0]):
        return f"whose schema {found} is unknown here: a newer version has written it", ""
    connection.execute("SELECT 1 FROM api_keys LIMIT 1")
    # The service has none, and they would run with its statements: one could give each new key another role, say.
    added = connection.execute("SELECT type, name FROM sqlite_schema WHERE type IN ('trigger', 'view')").fetchone()
    return (f"which has a {added[0]} that is not of this service: {added[1]!a}", "") if added else ("", found[0])


def _refuse_orphans(path: Path, *companions: Path) -> None:
    for file in companions:
        if os.path.lexists(file):
            raise _refusal(f"names {path}, which is not there, but {file} is: restore the one or remove the other")


def _create(path: Path) -> None:
    new = path.with_name(f"{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        os.close(create_file(new))
        _migrate(new)
        with closing(connect(new)) as connection:
            mark_identity(connection)
            connection.execute("PRAGMA journal_mode = WAL")
        sync_file(new)
        new.rename(path)
        sync_directory(path.parent)
    except (OSError, sqlite3.Error) as error:
        raise _refusal(f"cannot be made at {path}: {error}") from None


def _bring_up_to_date(path: Path) -> None:
    require_own_wal(path)
    try:
        with closing(connect(path)) as connection:
            unknown, found = look_at_schema(connection)
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            if mode != "wal" and not unknown:  # somebody has rewritten the database by other means
                connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error as error:
        raise _refusal(f"names {path}, which cannot be used as a database of this service: {error}") from None
    if unknown:
        raise _refusal(f"names {path}, {unknown}")
    if not migrate.is_newest(found):
        try:
            _migrate(path)
        except sqlite3.Error as error:
            raise _refusal(f"names {path}, which cannot be brought up to date: {error}") from None


def _migrate(path: Path) -> None:
    engine = create_engine(
        "sqlite://", creator=lambda: connect(path), poolclass=pool.NullPool, isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            migrate.bring_up_to_date(connection)
            connection.exec_driver_sql("COMMIT")
        except DBAPIError as error:  # closing the connection rolls back
            raise sqlite3.OperationalError(str(error.orig)) from None


def _refusal(why: str) -> StartupError:
    return StartupError(f"KEYHOOK_DATABASE_URL {why}")
