"""`flask oidc check`: whether the OpenID provider answers, and which checks a token of it passes."""

import sys
from typing import TYPE_CHECKING

import click
from flask import Flask, current_app
from flask.cli import AppGroup

from cli.table import visible
from runtime.authenticator import MAX_CREDENTIAL
from runtime.identity_provider import bearers_of
from runtime.state import SETTINGS

if TYPE_CHECKING:
    from oidc.bearer import Bearers
    from oidc.keyset import Keys

group = AppGroup("oidc", help="Look at the OpenID provider whose tokens are good here.")


@group.command("check")
def check() -> None:
    """Ask the provider for its keys, and say which checks the token on stdin passes, without printing it.

    Nothing but the names of its claims is shown. The exit status is 1 if the token would be refused.
    """
    bearers = bearers_of(current_app.extensions[SETTINGS])
    if bearers is None:
        raise click.ClickException("KEYHOOK_OIDC_ISSUER is not set")
    keys = _keys_of(bearers.provider.issuer)
    if token := _token():
        _report(token, bearers, keys)


def _keys_of(issuer: str) -> "Keys":
    from oidc.fetching import FetchFailed  # without an issuer, nothing of it is needed
    from oidc.published import read_published

    try:
        keys = read_published(issuer).keys
    except FetchFailed as failure:
        raise click.ClickException(f"{issuer}: {visible(str(failure))}") from None
    click.echo(f"{issuer}: {len(keys.texts)} {'keys' if len(keys.texts) > 1 else 'key'} of use")
    return keys


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
