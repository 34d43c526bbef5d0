"""`keyhook`, the command of a wheel: what `flask` offers, for this service alone, from any directory."""

from collections.abc import Callable

import click
from flask import Flask
from flask.cli import FlaskGroup

from observability.build import version

# Which application, which settings, and Werkzeug's console: each is decided here already, or refused.
WITHOUT = {"app", "env_file", "debug"}


def command(create_app: Callable[[], Flask]) -> click.Group:
    """The group of commands. No file of the current directory takes part: neither `.env` nor `.flaskenv`.

    FLASK_APP means nothing to it, but FLASK_RUN_PORT and its like are read as by `flask`.
    """
    group = FlaskGroup(
        name="keyhook",
        create_app=create_app,
        add_version_option=False,
        load_dotenv=False,
        help="Mints API keys and answers, fast, whether a key is good.",
    )
    group.params = [option for option in group.params if option.name not in WITHOUT]
    version_option = click.version_option(version(), prog_name="keyhook", message="%(prog)s %(version)s")
    return version_option(group)
