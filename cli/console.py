"""`flask console`: a link that signs a person in to the console, once."""

import os
from datetime import timedelta

import click
from flask import Flask
from flask.cli import with_appcontext

from cli.first_key import reachable
from cli.link import link
from cli.options import Duration, errors_as_exit_status, in_reach, login_name, require_text, tenant_option
from identity.principal import OF_PEOPLE
from observability.terminal import say
from runtime.sessions import REDEEMABLE
from runtime.state import service

MAX_SESSION = timedelta(days=7)


@click.command("console")
@click.option("--owner", default=None, help="Who signs in; your login name if left out.")
@click.option("--role", type=click.Choice(OF_PEOPLE), default="admin", show_default=True)
@tenant_option
@click.option("--expires-in", type=Duration(), default="12h", show_default=True, help="How long the session lasts.")
@click.option(
    "--url", default=None, help="Where browsers find the service; KEYHOOK_PUBLIC_URL, or this machine, if left out."
)
@click.option("--end-all", is_flag=True, help="End every session, and every link, instead.")
@with_appcontext
def console(owner: str | None, role: str, tenant: str, expires_in: timedelta, url: str | None, end_all: bool) -> None:
    """Print a link that opens the console, once, within ten minutes."""
    with errors_as_exit_status():
        if not service().settings.console:
            raise click.ClickException("KEYHOOK_CONSOLE is off: there is no console")
        if end_all:
            say(_counted(service().sessions.end_all()))
            return
        for option, value in (("--owner", owner), ("--tenant", tenant), ("--url", url)):
            if value is not None:
                require_text(option, value)
        if expires_in > MAX_SESSION:
            raise click.ClickException(f"--expires-in: a session lasts for at most {MAX_SESSION.days} days")
        owner = login_name() if owner is None else owner
        click.echo(
            link(url or service().settings.public_url or _own_address(), owner, role, tenant, in_reach(expires_in))
        )
        say(f"it works once, for {REDEEMABLE.seconds // 60} minutes")


def _own_address() -> str:
    """The address of `flask run` under the settings that this command would find too."""
    host, port = os.environ.get("FLASK_RUN_HOST", "127.0.0.1"), os.environ.get("FLASK_RUN_PORT", "5000")
    return f"http://{reachable(host, port)}"


def _counted(number: int) -> str:
    return f"ended {number} session{'' if number == 1 else 's'}"


def install(app: Flask) -> None:
    app.cli.add_command(console)
