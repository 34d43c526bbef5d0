"""Single lines on stderr, beside the log, for the person who starts the service or calls a command."""

from contextlib import suppress

import click
from flask.cli import FlaskGroup


def say(line: str) -> None:
    """Prints a line on stderr; ignores a stderr that cannot be written."""
    with suppress(OSError, ValueError):
        click.echo(line, err=True)


def is_choosing_command() -> bool:
    """Whether Flask's command line only asks the application for its commands, before it calls one."""
    context = click.get_current_context(silent=True)
    return context is not None and isinstance(context.command, FlaskGroup)


def is_server() -> bool:
    """Whether this process serves: under `flask run` and `flask serve`, and without a command of Flask's."""
    context = click.get_current_context(silent=True)
    return context is None or context.info_name in ("run", "serve")
