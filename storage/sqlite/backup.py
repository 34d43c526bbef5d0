"""A consistent copy of the database while services use it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from errors import DatabaseUnavailable
from storage.files import create_file, sync_directory, sync_file
from storage.sqlite.connection import connect, mark_identity


def back_up(database: Path, file: Path) -> None:
    """Copies the database to a new file. Raises FileExistsError, other OSErrors of the file, DatabaseUnavailable."""
    part = file.with_name(f"{file.name}.part-{os.getpid()}")
    os.close(create_file(part))
    try:
        _copy(database, part)
        os.link(part, file)  # refuses to replace an existing file, in one step
    finally:
        part.unlink()
    sync_directory(file.parent)


def _copy(database: Path, target: Path) -> None:
    try:
        with closing(connect(database)) as source, closing(connect(target)) as copy:
            source.backup(copy)
            mark_identity(copy)
    except sqlite3.Error as error:
        raise DatabaseUnavailable(str(error)) from None
    sync_file(target)
