"""`flask restore FILE`: a copy becomes the database, while no service runs.

A crash at any point leaves the old database, whole, or the new one, whole: the copy is made and checked under another
name, what the old WAL holds is taken into the old database, and one rename puts the new in its place. The old one stays
beside under a name of its own. FILE is only read.
"""

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import click
from flask import Flask, current_app
from flask.cli import with_appcontext

from errors import StartupError
from observability.terminal import say
from runtime.settings import Settings
from runtime.startup import alone_in, look_at_schema, sync_directory
from runtime.state import SETTINGS
from storage.sqlite.connection import connect, stamp
from storage.sqlite.database import is_open_here
from storage.sqlite.wal import SHARED_LOCK, is_open_elsewhere, lock_alone, require_own_wal

BESIDE = ("-shm", "-wal", "-journal")  # removed in this order: an index without its WAL stops a start


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@with_appcontext
def restore(file: Path) -> None:
    """Put the copy FILE in the place of the database while no service runs. The old one is kept beside."""
    settings: Settings = current_app.extensions[SETTINGS]
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise click.ClickException(f"{file} is no file")
        with alone_in(settings):
            kept = put_in_place(file.absolute(), settings.database.resolve())
    except ValueError:
        raise click.ClickException("that is no name for a file") from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or file}: {error.strerror}") from None
    before = f"; the database of before is {kept}" if kept else ""
    say(f"restored {file} to {settings.database}{before}")


def install(app: Flask) -> None:
    app.cli.add_command(restore)


def put_in_place(file: Path, database: Path) -> Path | None:
    """Makes a copy of the file the database; returns where the one of before is, if there was any.

    Within `alone_in`. Raises ClickException, OSError.
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
        _remove(new, "", *BESIDE)
    return kept


def _require_unused(database: Path) -> None:
    if is_open_here(database) or is_open_elsewhere(database):
        raise click.ClickException(f"{database} is in use: stop the service first")


def _require_copy(file: Path, database: Path) -> None:
    if database.exists() and file.samefile(database):
        raise click.ClickException(f"{file} is the database itself")
    if is_open_here(file) or is_open_elsewhere(file):
        raise click.ClickException(f"{file} is in use: restore a copy, as `flask backup` makes it")


def _copy(file: Path, new: Path) -> None:
    """With what lies beside it, as where the files were copied after a crash: only together are they whole."""
    _remove(new, "", *BESIDE)
    for suffix in ("", "-wal", "-journal"):
        with suppress(FileNotFoundError), open(f"{file}{suffix}", "rb") as source:
            descriptor = os.open(f"{new}{suffix}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "wb") as copy:
                shutil.copyfileobj(source, copy)


def _check(file: Path, new: Path) -> None:
    """Makes the copy one whole file that can be started with, and a database of its own; or raises ClickException."""
    try:
        require_own_wal(new)
        with closing(connect(new)) as connection:
            unknown, _ = look_at_schema(connection)
            if unknown:
                raise click.ClickException(f"{file} is a database {unknown}")
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok":
                raise click.ClickException(f"{file} is damaged: {found.splitlines()[0]}")
            connection.execute("PRAGMA journal_mode = WAL")
            stamp(connection)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with new.open("rb") as copy:
            os.fsync(copy.fileno())
    except StartupError:
        raise click.ClickException(f"{file} and the WAL beside it do not belong together") from None
    except sqlite3.Error as error:
        raise click.ClickException(f"{file} cannot be used as a database of this service: {error}") from None


@contextmanager
def _held(database: Path) -> Iterator[None]:
    """Nobody opens the database meanwhile: it is whole in one file, as far as it can be, and locked."""
    if not database.exists():
        yield
        return
    _take_in_wal(database)
    with database.open("r+b") as file:
        if not lock_alone(file.fileno(), SHARED_LOCK):
            raise click.ClickException(f"{database} is in use: stop the service first")
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
    _remove(database, *BESIDE)
    sync_directory(database.parent)
    return kept if there else None


def _remove(path: Path, *suffixes: str) -> None:
    for suffix in suffixes:
        Path(f"{path}{suffix}").unlink(missing_ok=True)
