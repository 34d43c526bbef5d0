"""`flask backup`: a consistent copy of the database while the service runs."""

from pathlib import Path

import click
from flask import Flask
from flask.cli import with_appcontext

from errors import DatabaseUnavailable
from runtime.state import service
from storage.sqlite.backup import back_up


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@with_appcontext
def backup(file: Path) -> None:
    """Copy the database to FILE while the service runs. An existing FILE is refused."""
    settings = service().settings
    if settings.postgresql:
        raise click.ClickException("the database is one of PostgreSQL: use pg_dump")
    try:
        file = file.absolute()
        back_up(settings.database, file)
    except ValueError:
        raise click.ClickException("that is no name for a file") from None
    except FileExistsError:
        raise click.ClickException(f"{file} exists already") from None
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from None
    except DatabaseUnavailable as error:
        raise click.ClickException(f"the database cannot be copied: {error.reason}") from None


def install(app: Flask) -> None:
    app.cli.add_command(backup)
