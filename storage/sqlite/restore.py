"""A copy becomes the database, while no service runs.

A crash at any point leaves the old database, whole, or the new one, whole: the copy is made and checked under another
name, what the old WAL holds is taken into the old database, and one rename puts the new in its place. The old one stays
beside under a name of its own. The copy that is given is only read.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from errors import StartupError
from storage.files import create_file, remove, sync_directory, sync_file
from storage.sqlite.connection import connect, stamp
from storage.sqlite.database import is_open_here
from storage.sqlite.provision import look_at_schema
from storage.sqlite.wal import SHARED_LOCK, is_open_elsewhere, lock_alone, require_own_wal

BESIDE = ("-shm", "-wal", "-journal")  # removed in this order: an index without its WAL stops a start


class RestoreRefused(Exception):
    """Why a copy cannot become the database, as one line."""


def put_in_place(file: Path, database: Path) -> Path | None:
    """Makes a copy of the file the database; returns where the one of before is, if there was any.

    No other process may start or restore meanwhile. Raises RestoreRefused, OSError.
    """
    _require_unused(database)
    _require_copy(file, database)
    new = database.with_name(f"{database.name}.new")
    try:
        _copy(file, new)
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
        raise RestoreRefused(f"{file} is in use: restore a copy, as `flask backup` makes it")


def _copy(file: Path, new: Path) -> None:
    """With what lies beside it, as where the files were copied after a crash: only together are they whole."""
    remove(new, "", *BESIDE)
    for suffix in ("", "-wal", "-journal"):
        with (
            suppress(FileNotFoundError),
            open(f"{file}{suffix}", "rb") as source,
            os.fdopen(create_file(Path(f"{new}{suffix}")), "wb") as copy,
        ):
            shutil.copyfileobj(source, copy)


def _check(file: Path, new: Path) -> None:
    """Makes the copy one whole file that can be started with, and a database of its own; or raises RestoreRefused."""
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
            stamp(connection)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sync_file(new)
    except StartupError:
        raise RestoreRefused(f"{file} and the WAL beside it do not belong together") from None
    except sqlite3.Error as error:
        raise RestoreRefused(f"{file} cannot be used as a database of this service: {error}") from None


@contextmanager
def _held(database: Path) -> Iterator[None]:
    """Nobody opens the database meanwhile: it is whole in one file, as far as it can be, and locked."""
    if not database.exists():
        yield
        return
    _take_in_wal(database)
    with database.open("r+b") as file:
        if not lock_alone(file.fileno(), SHARED_LOCK):
            raise RestoreRefused(f"{database} is in use: stop the service first")
        yield


def _take_in_wal(database: Path) -> None:
    """Of a database that is sound. One that is not, which may be why it is replaced, stays as it is, WAL and all."""
    with suppress(StartupError, sqlite3.Error):
        require_own_wal(database)
        with closing(connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _set_aside(database: Path) -> Path | None:
    """Gives the old files second names, and takes from beside the database what would be read with the new one."""
    moment = datetime.now(UTC)
    kept = database.with_name(f"{database.name}.before-restore-{moment:%Y%m%dT%H%M%S.%fZ}")
    there = [suffix for suffix in ("", "-wal", "-journal") if os.path.lexists(f"{database}{suffix}")]
    for suffix in there:
        os.link(f"{database}{suffix}", f"{kept}{suffix}")
    sync_directory(database.parent)
    remove(database, *BESIDE)
    sync_directory(database.parent)
    return kept if there else None
