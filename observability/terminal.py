"""What is said on stderr beside the log: one line each, to whoever starts the service or calls a command."""

from contextlib import suppress

import click
from flask.cli import FlaskGroup


def say(line: str) -> None:
    """A stderr that cannot be written is no reason to stop."""
    with suppress(OSError, ValueError):
        click.echo(line, err=True)


def is_choosing_command() -> bool:
    """Whether Flask's command line asks the application which commands it has: the one that is meant comes later."""
    context = click.get_current_context(silent=True)
    return context is not None and isinstance(context.command, FlaskGroup)


def is_server() -> bool:
    """Whether this process serves: any that no command of Flask's started, but for `run` and `serve`."""
    context = click.get_current_context(silent=True)
    return context is None or context.info_name in ("run", "serve")
