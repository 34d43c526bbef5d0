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
from settings import Settings, refuse, secret_of
from storage import connect, stamp

MIGRATIONS = Path(__file__).with_name("migrations")


def prepare(settings: Settings) -> Settings:
    """The settings with the secret in them, once everything they name is there. Raises StartupError."""
    make_directory("KEYHOOK_DATA_DIR", settings.data_dir)
    make_directory("KEYHOOK_DATABASE_URL", settings.database.parent)
    with _alone(settings.data_dir, settings.database.parent):
        if os.path.lexists(settings.database):
            _bring_up_to_date(settings.database)
        else:
            _refuse_remains(settings)
            _create_database(settings.database)
        return replace(settings, secret_key=settings.secret_key or _secret(settings.secret_file))


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
def _alone(*directories: Path) -> Iterator[None]:
    with ExitStack() as stack:
        for directory in sorted({path.resolve() for path in directories}):
            try:
                descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                raise refuse("KEYHOOK_DATA_DIR", f"cannot be read at {directory}: {error.strerror}") from None
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


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
    try:
        with closing(connect(path)) as connection:
            found = [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")]
            if found == [SCHEMA]:
                connection.execute("SELECT 1 FROM api_keys LIMIT 1")
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            if mode != "wal":  # a database that somebody has written out by other means
                connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error as error:
        raise refuse(
            "KEYHOOK_DATABASE_URL", f"names {path}, which cannot be used as a database of this service: {error}"
        ) from None
    if found != [SCHEMA]:
        known = {file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*.py")}
        if len(found) != 1 or found[0] not in known:
            raise refuse(
                "KEYHOOK_DATABASE_URL",
                f"names {path}, whose schema {found} is unknown here: a newer version has written it",
            )
        try:
            _migrate(path)
        except sqlite3.Error as error:
            raise refuse("KEYHOOK_DATABASE_URL", f"names {path}, which cannot be brought up to date: {error}") from None


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
