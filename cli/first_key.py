"""The hint on the terminal of a server without keys: how to make the first key."""

import os
import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import click
from flask import Flask
from sqlalchemy import select

from cli.link import SESSION, link
from cli.options import login_name
from errors import DatabaseUnavailable
from models import api_keys
from observability.build import COMMAND, IS_WHEEL, ROOT
from runtime.settings import ROWS, environment
from runtime.state import service

HEAD = """
There are no keys yet. To make the first one,"""
IN_A_BROWSER = """ open this link, which works once, for ten minutes:

  {link}

or,"""
IN_A_TERMINAL = """ in another terminal{secret}:
"""
OVER_HTTP = """
  TOKEN=$({command} token)
  curl -X POST http://{address}/v0/api_keys \\
       -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\
       -d '{{"name": "laptop"}}'

or without the server:
"""
WITHOUT_THE_SERVER = """
  {command} keys create laptop
"""


def print_first_steps(app: Flask, address: str = "") -> None:
    """Prints the hint, unless a key exists or the command serves nothing.

    `address` is the one that the service listens on. `flask run` has it in its options; other servers do not tell it.
    """
    context = click.get_current_context(silent=True)
    if context is not None and not address:
        if context.info_name != "run":
            return
        address = reachable(context.params["host"], context.params["port"])
    with app.app_context():
        if service().storage.first(select(api_keys.c.seq).limit(1)) is not None:
            return
        opened = _link(address) if address else ""
    by_browser, by_http = IN_A_BROWSER if opened else "", OVER_HTTP if address else ""
    text = HEAD + by_browser + IN_A_TERMINAL + by_http + WITHOUT_THE_SERVER
    hidden = [name for name, value in _settings_for_commands() if ROWS[name].is_secret(value)]
    secret = f" (with the same {' and '.join(hidden)})" if hidden else ""
    click.echo(text.format(link=opened, command=_command(), address=address, secret=secret), err=True)


def _link(address: str) -> str:
    """A link for the person at the terminal; empty without a console, or while the database takes no writes."""
    with suppress(DatabaseUnavailable):
        if service().settings.console:
            return link(f"http://{address}", login_name(), "admin", "default", SESSION)
    return ""


def reachable(host: str, port: int | str) -> str:
    """The address at which a client reaches a server that listens there."""
    host = f"[{host}]" if ":" in host else host
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104  (nobody can call the wildcard)
    return f"{host}:{port}"


def _command() -> str:
    """The command line of this service with its settings, as a shell in the same directory would call it."""
    program = sys.argv[0] if os.path.basename(sys.argv[0]) == COMMAND else str(Path(sys.executable).with_name(COMMAND))
    if program == shutil.which(COMMAND):
        program = COMMAND
    elif Path(program).is_relative_to(Path.cwd()):
        program = str(Path(program).relative_to(Path.cwd()))
    given = [
        f"{name}={shlex.quote(value)}" for name, value in _settings_for_commands() if not ROWS[name].is_secret(value)
    ]
    elsewhere = [] if IS_WHEEL or Path.cwd() == ROOT else ["--app", shlex.quote(str(ROOT / "app.py"))]
    return " ".join([*given, shlex.quote(program), *elsewhere])


def _settings_for_commands() -> list[tuple[str, str]]:
    return [(name, value) for name, value in environment().items() if ROWS[name].for_commands]
