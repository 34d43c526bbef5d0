"""`flask backup`: a consistent copy of the database while the service runs."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import click
from flask import Flask
from flask.cli import with_appcontext

from runtime.startup import sync_directory
from runtime.state import service
from storage.sqlite.connection import connect, stamp


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@with_appcontext
def backup(file: Path) -> None:
    """Copy the database to FILE while the service runs. An existing FILE is refused."""
    database = service().settings.database
    try:
        file = file.absolute()
        part = file.with_name(f"{file.name}.part-{os.getpid()}")
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            _copy(database, part)
            os.link(part, file)  # refuses, at once and for good, to replace what is there
        finally:
            part.unlink()
        sync_directory(file.parent)
    except ValueError:
        raise click.ClickException("that is no name for a file") from None
    except FileExistsError:
        raise click.ClickException(f"{file} exists already") from None
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from None
    except sqlite3.Error as error:
        raise click.ClickException(f"the database cannot be copied: {error}") from None


def _copy(database: Path, target: Path) -> None:
    with closing(connect(database)) as source, closing(connect(target)) as copy:
        source.backup(copy)
        stamp(copy)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def install(app: Flask) -> None:
    app.cli.add_command(backup)
