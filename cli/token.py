"""`flask token`: a JWT for a person."""

from datetime import timedelta

import click
from flask import Flask
from flask.cli import with_appcontext

from cli.options import Duration, errors_as_exit_status, in_reach, login_name, require_text, tenant_option
from identity.principal import OF_PEOPLE
from identity.tokens import make_token
from observability.terminal import say
from runtime.secret_fingerprint import is_another
from runtime.state import service

MAX_TOKEN = timedelta(days=3650)
LONG_TOKEN = timedelta(days=30)  # a longer one comes with a warning


@click.command("token")
@click.option("--owner", default=None, help="Who the token speaks for; your login name if left out.")
@click.option("--role", type=click.Choice(OF_PEOPLE), default="admin", show_default=True)
@tenant_option
@click.option("--expires-in", type=Duration(), default="1h", show_default=True)
@with_appcontext
def token(owner: str | None, role: str, tenant: str, expires_in: timedelta) -> None:
    """Print a JWT for a person."""
    with errors_as_exit_status():
        for option, value in (("--owner", owner), ("--tenant", tenant)):
            if value is not None:
                require_text(option, value)
        require_lifetime(expires_in)
        secret = service().settings.secret_key
        made = make_token(secret, login_name() if owner is None else owner, role, tenant, in_reach(expires_in))
        click.echo(made)
        if is_another(service().storage, secret):
            say("the service last started with another secret: if it still has that one, it refuses this token")


def require_lifetime(span: timedelta) -> None:
    """Refuses or warns of a long life: only a new secret ends a token early, whereas a key can be disabled."""
    if span > MAX_TOKEN:
        raise click.ClickException(
            f"--expires-in: a token lives for at most {MAX_TOKEN.days} days; a key may live longer"
        )
    if span > LONG_TOKEN:
        say(f"a token cannot be revoked, and this one is good for {span.days} days: a key can be disabled at any time")


def install(app: Flask) -> None:
    app.cli.add_command(token)
