"""Puts a copy in place of the database, while no service runs.

A crash at any point leaves either database whole: the copy is made and checked under another name, the old WAL is taken
into the old database, and one rename puts the new one in its place. The old one stays beside it under another name. The
given copy is only read.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from errors import StartupError
from observability.build import COMMAND
from storage.files import create_file, remove, sync_directory, sync_file
from storage.sqlite.connection import connect, mark_identity
from storage.sqlite.database import is_open_here
from storage.sqlite.provision import look_at_schema
from storage.sqlite.wal import SHARED_LOCK, is_open_elsewhere, lock_alone, require_own_wal

BESIDE = ("-shm", "-wal", "-journal")  # removed in this order: an index without its WAL stops a start


class RestoreRefused(Exception):
    """The reason why a copy cannot become the database, as one line."""


def put_in_place(file: Path, database: Path) -> Path | None:
    """Puts a copy of the file in place of the database; returns the new path of the old one, if there was one.

    No other process may start or restore meanwhile. Raises RestoreRefused, OSError.
    """
    _require_unused(database)
    _require_copy(file, database)
    new = database.with_name(f"{database.name}.new")
    try:
        _copy(file, new, database if database.exists() else database.parent)
        _check(file, new)
        with _held(database):
            kept = _set_aside(database)
            new.rename(database)
            sync_directory(database.parent)
    finally:
        remove(new, "", *BESIDE)
    return kept


def _require_unused(database: Path) -> None:
    if is_open_here(database) or is_open_elsewhere(database):
        raise RestoreRefused(f"{database} is in use: stop the service first")


def _require_copy(file: Path, database: Path) -> None:
    if database.exists() and file.samefile(database):
        raise RestoreRefused(f"{file} is the database itself")
    if is_open_here(file) or is_open_elsewhere(file):
        raise RestoreRefused(f"{file} is in use: restore a copy, as `{COMMAND} backup` makes it")


def _copy(file: Path, new: Path, owned: Path) -> None:
    """Copies the file with its WAL or journal: after a crash only all together are whole.

    What root copies gets the owner of `owned`: the service, which has to read it, may run as another user.
    """
    owner = owned.stat()
    remove(new, "", *BESIDE)
    for suffix in ("", "-wal", "-journal"):
        with (
            suppress(FileNotFoundError),
            open(f"{file}{suffix}", "rb") as source,
            os.fdopen(create_file(Path(f"{new}{suffix}")), "wb") as copy,
        ):
            if os.geteuid() == 0:
                os.fchown(copy.fileno(), owner.st_uid, owner.st_gid)
            shutil.copyfileobj(source, copy)


def _check(file: Path, new: Path) -> None:
    """Checks the copy, and makes it one whole file with a new mark. Raises RestoreRefused."""
    try:
        require_own_wal(new)
        with closing(connect(new)) as connection:
            unknown, _ = look_at_schema(connection)
            if unknown:
                raise RestoreRefused(f"{file} is a database {unknown}")
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok":
                raise RestoreRefused(f"{file} is damaged: {found.splitlines()[0]}")
            connection.execute("PRAGMA journal_mode = WAL")
            mark_identity(connection)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sync_file(new)
    except StartupError:
        raise RestoreRefused(f"{file} and the WAL beside it do not belong together") from None
    except sqlite3.Error as error:
        raise RestoreRefused(f"{file} cannot be used as a database of this service: {error}") from None


@contextmanager
def _held(database: Path) -> Iterator[None]:
    """Locks the old database, so that nobody opens it meanwhile, with its WAL taken in if it is sound."""
    if not database.exists():
        yield
        return
    _take_in_wal(database)
    with database.open("r+b") as file:
        if not lock_alone(file.fileno(), SHARED_LOCK):
            raise RestoreRefused(f"{database} is in use: stop the service first")
        yield


def _take_in_wal(database: Path) -> None:
    """Takes the WAL into a sound database. A damaged one, which may be replaced for that, stays unchanged."""
    with suppress(StartupError, sqlite3.Error):
        require_own_wal(database)
        with closing(connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _set_aside(database: Path) -> Path | None:
    """Gives the old files second names, and removes those that SQLite would read with the new database."""
    moment = datetime.now(UTC)
    kept = database.with_name(f"{database.name}.before-restore-{moment:%Y%m%dT%H%M%S.%fZ}")
    there = [suffix for suffix in ("", "-wal", "-journal") if os.path.lexists(f"{database}{suffix}")]
    for suffix in there:
        os.link(f"{database}{suffix}", f"{kept}{suffix}")
    sync_directory(database.parent)
    remove(database, *BESIDE)
    sync_directory(database.parent)
    return kept if there else None
