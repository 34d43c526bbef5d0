"""`flask oidc check`: whether the OpenID provider answers, and which checks a token of it passes."""

import sys
from typing import TYPE_CHECKING

import click
from flask import Flask, current_app
from flask.cli import AppGroup

from cli.table import visible
from runtime.authenticator import MAX_CREDENTIAL
from runtime.identity_provider import bearers_of, sign_in_of
from runtime.settings import Settings
from runtime.state import SETTINGS

if TYPE_CHECKING:
    from oidc.bearer import Bearers
    from oidc.keyset import Keys
    from oidc.published import Metadata

group = AppGroup("oidc", help="Look at the OpenID provider whose tokens are good here.")


@group.command("check")
def check() -> None:
    """Ask the provider for its keys, and say which checks the token on stdin passes, without printing it.

    Nothing but the names of its claims is shown. The exit status is 1 if the token would be refused.
    """
    settings = current_app.extensions[SETTINGS]
    bearers = bearers_of(settings)
    if bearers is None:
        raise click.ClickException("KEYHOOK_OIDC_ISSUER is not set")
    metadata, keys = _published(bearers.provider.issuer)
    _say_what_to_register(settings, bearers, metadata)
    if token := _token():
        _report(token, bearers, keys)


def _say_what_to_register(settings: Settings, bearers: "Bearers", metadata: "Metadata") -> None:
    """The addresses that the provider has to know before it signs anybody in."""
    flow = sign_in_of(settings, bearers)
    if flow is None:
        return
    if not (metadata.authorization and metadata.token):
        raise click.ClickException("the metadata names no authorization_endpoint and token_endpoint of use")
    click.echo(f"sign-in: it has to know the redirect URI {flow.client.redirect_uri}")
    way_out = flow.client.after_sign_out if metadata.end_session else "nothing: it has no end_session_endpoint"
    click.echo(f"sign-out: it has to know {way_out}")


def _published(issuer: str) -> "tuple[Metadata, Keys]":
    from oidc.fetching import FetchFailed  # without an issuer, nothing of it is needed
    from oidc.published import read_published

    try:
        published = read_published(issuer)
    except FetchFailed as failure:
        raise click.ClickException(f"{issuer}: {visible(str(failure))}") from None
    number = len(published.keys.texts)
    click.echo(f"{issuer}: {number} {'keys' if number > 1 else 'key'} of use")
    return published


def _report(token: str, bearers: "Bearers", keys: "Keys") -> None:
    """Ends with status 1 unless the token passes everything."""
    from oidc.checkup import claim_names, examine

    click.echo(f"claims: {visible(', '.join(claim_names(token)))}")
    findings = list(examine(token, bearers.provider.issuer, keys, bearers.rules))
    for what, why_not in findings:
        click.echo(f"{'no ' if why_not else 'yes'}  {what}{f': {visible(why_not)}' if why_not else ''}")
    if any(why_not for _, why_not in findings):
        raise SystemExit(1)


def _token() -> str:
    """The token on stdin, or nothing: at a terminal nobody is asked for one."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    text = sys.stdin.buffer.read(4 * MAX_CREDENTIAL).decode(errors="replace").strip()
    if len(text) > MAX_CREDENTIAL:
        raise click.ClickException(f"the token is longer than {MAX_CREDENTIAL} characters, and is refused for that")
    return text


def install(app: Flask) -> None:
    app.cli.add_command(group)
