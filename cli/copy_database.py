"""`flask copy-database URL`: everything into an empty PostgreSQL database."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import click
from flask import Flask, current_app
from flask.cli import with_appcontext

from errors import DatabaseUnavailable, StartupError
from models import api_keys, audit_entries
from observability.terminal import say
from runtime import parsers
from runtime.engine import source_of_copy
from runtime.settings import Settings
from runtime.state import SETTINGS, service
from storage.source import CopyRefused


@click.command("copy-database")
@click.argument("urls", nargs=-1, metavar="URL")
@with_appcontext
def copy_database(urls: tuple[str, ...]) -> None:
    """Copy everything to the empty PostgreSQL database at URL. Until the end nothing can be changed here."""
    if len(urls) != 1:  # click itself would show what is too much, which may be a part of a password
        raise click.UsageError("give one URL, in quotes")
    try:
        target = parsers.server("URL", urls[0])
    except StartupError as refusal:
        raise click.ClickException(str(refusal)) from None
    given: Settings = current_app.extensions[SETTINGS]
    if not given.postgresql and not os.path.lexists(given.database):
        raise click.ClickException(f"there is no database at {given.database}")
    source = source_of_copy(service().settings)
    from storage.postgresql.copy_target import copy_into  # not before the driver is known to be there

    try:
        with progress_bar() as show:
            copied = copy_into(target, source, show)
    except CopyRefused as refusal:
        raise click.ClickException(str(refusal)) from None
    except DatabaseUnavailable as error:
        raise click.ClickException(f"the database here cannot be copied: {error.reason}") from None
    keys, entries = copied[api_keys.name], copied[audit_entries.name]
    say(f"copied {keys} {'key' if keys == 1 else 'keys'} and {entries} audit {'entry' if entries == 1 else 'entries'}")
    say_what_is_next(given)


def say_what_is_next(given: Settings) -> None:
    secret = "what it is here" if given.secret_key else f"the content of {given.secret_file}"
    say("next: stop the service here, whose later changes the copy lacks; there, set KEYHOOK_DATABASE_URL to that URL")
    say(f"and KEYHOOK_SECRET_KEY to {secret}: with another secret, tokens that were made here are refused")


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """Yields a function that shows how many rows of all are done, on a terminal."""
    if not (sys.stderr and sys.stderr.isatty()):
        yield lambda done, total: None
        return
    bar = click.progressbar(length=1, label="copying", file=sys.stderr)
    with ExitStack() as stack:

        def show(done: int, total: int) -> None:
            if not bar.entered:  # a refusal comes before, and alone
                bar.length = total
                stack.enter_context(bar)
            bar.update(done - bar.pos)

        yield show


def install(app: Flask) -> None:
    app.cli.add_command(copy_database)
