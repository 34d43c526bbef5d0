"""Before the first request: the data directory, the database at the newest schema, the secret.

Many processes may do it at once: it happens under a lock on the directories. Each file appears whole or not at all: it
is made under another name, synced, and renamed. So a database that is there is complete, and one that is missing beside
its secret was lost: then the start stops with one line, and nothing is made anew in its place.
"""

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

from sqlalchemy import create_engine, pool
from sqlalchemy.exc import DBAPIError

from models import SCHEMA
from observability.terminal import is_server, say
from runtime.permissions import say_who_else
from runtime.settings import Settings
from runtime.settings_table import refuse
from runtime.signing_secret import GUESSABLE, is_guessable, secret_of
from storage.sqlite.connection import connect, stamp
from storage.sqlite.wal import require_own_wal

MIGRATIONS = Path(__file__).parent.parent / "migrations"


@contextmanager
def prepared(settings: Settings) -> Iterator[Settings]:
    """The settings with the secret in them, once everything they name is there. Raises StartupError.

    Within, no other process starts or restores: whoever opens the database there has the one that was looked at.
    """
    if settings.require_database and not os.path.lexists(settings.database):
        raise refuse("KEYHOOK_REQUIRE_DATABASE", f"is 1, but {settings.database} is not there: is its disk mounted?")
    with alone_in(settings):
        new_database, new_secret = not os.path.lexists(settings.database), False
        if new_database:
            _refuse_remains(settings)
            _create_database(settings.database)
        else:
            _bring_up_to_date(settings.database)
        if not settings.secret_key:
            new_secret = not os.path.lexists(settings.secret_file)
            settings = replace(settings, secret_key=_secret(settings.secret_file))
        _say_what_is_new(settings, new_database, new_secret)
        say_who_else(settings)
        if is_guessable(settings.secret_key):
            say(GUESSABLE)
        yield settings


@contextmanager
def alone_in(settings: Settings) -> Iterator[None]:
    """The directories are there, and whoever else starts or restores in them waits until the end."""
    make_directory("KEYHOOK_DATA_DIR", settings.data_dir)
    make_directory("KEYHOOK_DATABASE_URL", settings.database.parent)
    with _locked(settings.data_dir, settings.database.parent):
        yield


def make_directory(name: str, path: Path) -> None:
    """Makes a directory for its owner alone; one that is there already keeps its mode. Raises StartupError."""
    try:
        for directory in reversed([place for place in (path, *path.parents) if not place.is_dir()]):
            directory.mkdir(mode=0o700, exist_ok=True)
            sync_directory(directory.parent)
    except OSError as error:
        raise refuse(name, f"cannot be made at {path}: {error.strerror}") from None


def sync_directory(path: Path) -> None:
    """Makes a rename or a new file inside survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(*directories: Path) -> Iterator[None]:
    with ExitStack() as stack:
        for directory in sorted({path.resolve() for path in directories}):
            try:
                descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                raise refuse("KEYHOOK_DATA_DIR", f"cannot be read at {directory}: {error.strerror}") from None
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def _say_what_is_new(settings: Settings, database: bool, secret: bool) -> None:
    """To whoever calls a command: with other settings than the service's, it would work on files of its own."""
    places = [
        f"a new {what} at {path}"
        for what, path, new in (("database", settings.database, database), ("secret", settings.secret_file, secret))
        if new
    ]
    if places and not is_server():
        say(f"made {' and '.join(places)}")


def _refuse_remains(settings: Settings) -> None:
    database = settings.database
    for rest in (settings.secret_file, Path(f"{database}-wal"), Path(f"{database}-journal")):
        if os.path.lexists(rest):
            raise refuse(
                "KEYHOOK_DATABASE_URL",
                f"names {database}, which is not there, but {rest} is: restore the one or remove the other",
            )


def _create_database(path: Path) -> None:
    new = path.with_name(f"{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _migrate(new)
        with closing(connect(new)) as connection:
            stamp(connection)
            connection.execute("PRAGMA journal_mode = WAL")
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.rename(path)
        sync_directory(path.parent)
    except (OSError, sqlite3.Error) as error:
        raise refuse("KEYHOOK_DATABASE_URL", f"cannot be made at {path}: {error}") from None


def _bring_up_to_date(path: Path) -> None:
    require_own_wal(path)
    try:
        with closing(connect(path)) as connection:
            unknown, found = look_at_schema(connection)
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            if mode != "wal" and not unknown:  # a database that somebody has written out by other means
                connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error as error:
        raise refuse(
            "KEYHOOK_DATABASE_URL", f"names {path}, which cannot be used as a database of this service: {error}"
        ) from None
    if unknown:
        raise refuse("KEYHOOK_DATABASE_URL", f"names {path}, {unknown}")
    if found != SCHEMA:
        try:
            _migrate(path)
        except sqlite3.Error as error:
            raise refuse("KEYHOOK_DATABASE_URL", f"names {path}, which cannot be brought up to date: {error}") from None


def look_at_schema(connection: sqlite3.Connection) -> tuple[str, str]:
    """What forbids the use of a database, if anything, and the version of its schema. Raises sqlite3.Error."""
    found = [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")]
    known = {SCHEMA, *(file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))}
    if len(found) != 1 or found[0] not in known:
        return f"whose schema {found} is unknown here: a newer version has written it", ""
    connection.execute("SELECT 1 FROM api_keys LIMIT 1")
    # Nothing of ours has any, and they would run with the statements of the service: each new key made an admin's, say.
    added = connection.execute("SELECT type, name FROM sqlite_schema WHERE type IN ('trigger', 'view')").fetchone()
    return (f"which has a {added[0]} that is not of this service: {added[1]!a}", "") if added else ("", found[0])


def _migrate(path: Path) -> None:
    # Imported here because a start that finds the newest schema, as nearly all do, needs none of it.
    from alembic import command
    from alembic.config import Config

    engine = create_engine(
        "sqlite://", creator=lambda: connect(path), poolclass=pool.NullPool, isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        config.attributes["connection"] = connection
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            command.upgrade(config, "head")
            connection.exec_driver_sql("COMMIT")
        except DBAPIError as error:  # closing the connection rolls back
            raise sqlite3.OperationalError(str(error.orig)) from None


def _secret(path: Path) -> bytes:
    if not os.path.lexists(path):
        _create_secret(path)
    try:
        return secret_of(f"KEYHOOK_SECRET_KEY is not set and {path}", path.read_bytes().strip())
    except OSError as error:
        raise refuse("KEYHOOK_SECRET_KEY", f"is not set and {path} cannot be read: {error.strerror}") from None


def _create_secret(path: Path) -> None:
    new = path.with_name(f"{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_hex(32).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise refuse("KEYHOOK_SECRET_KEY", f"is not set and {path} cannot be made: {error.strerror}") from None
