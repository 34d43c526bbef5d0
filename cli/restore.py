"""`flask restore FILE`: a copy becomes the database, while no service runs."""

import stat
from pathlib import Path

import click
from flask import Flask, current_app
from flask.cli import with_appcontext

from observability.terminal import say
from runtime.settings import Settings
from runtime.startup import alone
from runtime.state import SETTINGS
from storage.sqlite.restore import RestoreRefused, put_in_place


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@with_appcontext
def restore(file: Path) -> None:
    """Put the copy FILE in the place of the database while no service runs. The old one is kept beside."""
    settings: Settings = current_app.extensions[SETTINGS]
    if settings.postgresql:
        raise click.ClickException("the database is one of PostgreSQL: use pg_restore")
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise click.ClickException(f"{file} is no file")
        with alone(settings):
            kept = put_in_place(file.absolute(), settings.database.resolve())
    except RestoreRefused as refusal:
        raise click.ClickException(str(refusal)) from None
    except ValueError:
        raise click.ClickException("that is no name for a file") from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or file}: {error.strerror}") from None
    before = f"; the database of before is {kept}" if kept else ""
    say(f"restored {file} to {settings.database}{before}")


def install(app: Flask) -> None:
    app.cli.add_command(restore)
