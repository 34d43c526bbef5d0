"""What is said on stderr beside the log: one line each, to whoever starts the service or calls a command."""

from contextlib import suppress

import click
from flask.cli import FlaskGroup
from flask.helpers import get_debug_flag

from errors import StartupError


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


def refuse_debugger() -> None:
    """Raises StartupError where `flask run` would serve Werkzeug's console."""
    context = click.get_current_context(silent=True)
    if context is None or context.info_name != "run":
        return
    debugger = context.params.get("debugger")
    if get_debug_flag() if debugger is None else debugger:
        raise StartupError("FLASK_DEBUG or --debug serves a console that runs any code: start without it")
