"""`flask token`, `flask keys ...`, `flask backup`: the same functions as the API, for who holds the machine.

What a script wants is alone on stdout, all else on stderr. Exit status: 1 for a refusal, 2 for what cannot be parsed.
"""

import errno
import json
import os
import pwd
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import click
from flask import Flask
from flask.cli import AppGroup, with_appcontext
from marshmallow import ValidationError as SchemaError

from cli.table import in_words, key_table, visible
from errors import AuthenticationFailed, KeyhookError
from formats.names import nfc
from formats.redaction import redact, redact_values
from formats.times import timestamp, wire_time
from identity.principal import ROLES, Origin, Principal
from identity.tokens import make_token
from keys.tenant_keys import Keyring, Minted
from models import status
from observability.terminal import say
from runtime.secret_fingerprint import is_another
from runtime.startup import sync_directory
from runtime.state import service
from schemas import MAX_PAGE, CreateKey, DeleteKeyById, Key, RotateKey
from storage.sqlite.database import connect, stamp
from web.contract import flat

MAX_TOKEN = timedelta(days=3650)
LONG_TOKEN = timedelta(days=30)  # from where on a warning goes with it
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}  # seconds


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A number and one of s, m, h, d, w."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"([0-9]+)([smhdw])", value)
        if match is None:
            self.fail(f"{value!r} is no duration: write a number and one of s m h d w, as in 90d", param, ctx)
        try:
            return timedelta(seconds=int(match[1]) * UNITS[match[2]])
        except (OverflowError, ValueError):  # a number all the same: what is too long is for the rules to say
            return timedelta.max


group = AppGroup("keys", help="Make, show and change API keys.")
tenant_option = click.option("--tenant", default="default", show_default=True, help="Whose keys.")


def command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command of `flask keys`: takes --tenant, passes a Keyring first, and ends with status 1 on a refusal."""

    def decorate(function: Callable[..., None]) -> click.Command:
        @group.command(name)
        @tenant_option
        @wraps(function)
        def run(tenant: str, **arguments: Any) -> None:
            with refusals():
                function(operator(tenant), **arguments)

        return run

    return decorate


@click.command("token")
@click.option("--owner", default=None, help="Who the token speaks for; your login name if left out.")
@click.option("--role", type=click.Choice(list(ROLES)), default="admin", show_default=True)
@tenant_option
@click.option("--expires-in", type=Duration(), default="1h", show_default=True)
@with_appcontext
def token(owner: str | None, role: str, tenant: str, expires_in: timedelta) -> None:
    """Print a JWT for a person."""
    with refusals():
        for option, value in (("--owner", owner), ("--tenant", tenant)):
            if value is not None:
                require_text(option, value)
        require_lifetime(expires_in)
        secret = service().settings.secret_key
        made = make_token(secret, login_name() if owner is None else owner, role, tenant, _in_reach(expires_in))
        click.echo(made)
        if is_another(service().storage, secret):
            say("the service last started with another secret: if it still has that one, it refuses this token")


@command("create")
@click.argument("name")
@click.option("--role", help="read or write; write if left out.")
@click.option("--scope", "scopes", multiple=True, help="What the key may do elsewhere; may be repeated.")
@click.option("--expires-in", type=Duration(), help="For ever if left out.")
@click.option("--owner", help="The person behind it; your login name if left out.")
@click.option("--description")
def create(keyring: Keyring, owner: str | None, expires_in: timedelta | None, **given: Any) -> None:
    """Mint a key and print it: this is the only time it is shown."""
    if owner is not None:
        require_text("--owner", owner)
    fields = {member: value for member, value in given.items() if value is not None}
    fields["scopes"] = list(fields["scopes"])
    if expires_in is not None:
        fields["expires_at"] = timestamp(datetime.now(UTC) + _in_reach(expires_in))
    print_secret(lambda: keyring.create(owner=owner, **CreateKey().load(fields)))


@command("list")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def list_keys(keyring: Keyring, as_json: bool) -> None:
    """Show all keys, without their secrets."""
    rows = list(every_row(keyring))
    if as_json:
        click.echo(json.dumps(Key(many=True).dump(rows), indent=2, ensure_ascii=False))
    else:
        for line in key_table(rows):
            click.echo(line)


@command("rotate")
@click.argument("name")
@click.option("--grace", type=Duration(), default="0s", help="How long the old secret goes on working.")
def rotate(keyring: Keyring, name: str, grace: timedelta) -> None:
    """Give a key a new secret and print it."""
    rotation = RotateKey().load({"grace_seconds": int(grace.total_seconds())})
    print_secret(lambda: keyring.rotate(nfc(name), **rotation))


@command("disable")
@click.argument("name")
def disable(keyring: Keyring, name: str) -> None:
    """Refuse a key until it is enabled again."""
    keyring.update(nfc(name), {"disabled": True})


@command("enable")
@click.argument("name")
def enable(keyring: Keyring, name: str) -> None:
    """Accept a disabled key again."""
    keyring.update(nfc(name), {"disabled": False})


@command("delete")
@click.argument("name", required=False)
@click.option("--id", "key_id", help="Instead of NAME; with --cascade also that of a key that is gone.")
@click.option("--cascade", is_flag=True, help="Also every key that was minted with it, and theirs.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(keyring: Keyring, name: str | None, key_id: str | None, cascade: bool, yes: bool) -> None:
    """Delete a key for good: NAME, or the one with --id."""
    if (name is None) == (key_id is None):
        raise click.UsageError("give either a NAME or --id")
    name = nfc(name) if name is not None else None
    key_id = DeleteKeyById().load({"id": key_id})["key_id"] if key_id is not None else None
    if not yes:
        doomed = keyring.doomed(name, key_id=key_id, cascade=cascade)
        if not (sys.stdin and sys.stdin.isatty()):
            raise click.ClickException("there is no terminal to ask on: say --yes")
        itself = [repr(row.name) for row in doomed if row.name == name or row.id == key_id]
        offspring = [f"all that was minted with {'it' if itself else key_id}, {_counted(doomed)} in all"]
        click.confirm(f"Delete {' and '.join(itself + offspring * cascade)}?", abort=True, err=True)
    keyring.delete(name, key_id=key_id, cascade=cascade)


@command("prune")
@click.option("--expired", type=Duration(), required=True, help="How long ago a key must have ended, at least.")
@click.option("--dry-run", is_flag=True, help="Delete nothing.")
def prune(keyring: Keyring, expired: timedelta, dry_run: bool) -> None:
    """Delete the keys that expired so long ago, and print their names."""
    try:
        before = timestamp(datetime.now(UTC) - expired)
    except OverflowError:
        raise click.ClickException("that is before the year 1") from None
    for name in [row.name for row in keyring.expired(before)] if dry_run else keyring.prune(before):
        click.echo(name)


@command("inspect")
def inspect(keyring: Keyring) -> None:
    """Read a key on stdin and say which it is, without printing it."""
    given = sys.stdin.buffer.readline() if sys.stdin else b""
    row, matched = service().keys.find(given.decode(errors="replace").strip())
    if row.tenant != keyring.tenant:
        raise AuthenticationFailed("unknown key")
    owner, expiry = visible(row.owner), in_words(row.expires_at)
    click.echo(f"{row.name}: {status(row)}, role {row.role}, owner {owner}, expires {expiry}")
    if matched != row.secret_hash:
        click.echo(f"an earlier secret, good until {wire_time(row.previous_until)}", err=True)


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@with_appcontext
def backup(file: Path) -> None:
    """Copy the database to FILE while the service runs. An existing FILE is refused."""
    database = service().settings.database
    try:
        file = file.absolute()
        part = file.with_name(f"{file.name}.part-{os.getpid()}")
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            _copy(database, part)
            os.link(part, file)  # refuses, at once and for good, to replace what is there
        finally:
            part.unlink()
        sync_directory(file.parent)
    except ValueError:
        raise click.ClickException("that is no name for a file") from None
    except FileExistsError:
        raise click.ClickException(f"{file} exists already") from None
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from None
    except sqlite3.Error as error:
        raise click.ClickException(f"the database cannot be copied: {error}") from None


def print_secret(mint: Callable[[], Minted]) -> None:
    """Mints and prints: where nothing can be printed nothing is minted, as far as can be known beforehand."""
    if sys.stdout is None:
        raise click.ClickException("stdout is closed, and the key would be shown nowhere else")
    minted = mint()
    try:
        click.echo(minted.api_key)
    except OSError as error:
        why = f"{minted.name!r} was made, but its key cannot be printed ({error.strerror}): rotate it"
        raise click.ClickException(why) from None


def operator(tenant: str) -> Keyring:
    """The keys of a tenant in the hands of whoever sits at the terminal: no limits but the rules."""
    require_text("--tenant", tenant)
    return service().keyring(Principal("cli", tenant, login_name(), "admin"), Origin())


def login_name() -> str:
    """By the user id of the process: LOGNAME and USER hold what anybody writes there, and the audit believes it."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
        name.encode()
        return name
    except (KeyError, UnicodeEncodeError):  # a container may run under a number without a name
        return str(os.getuid())


def require_lifetime(span: timedelta) -> None:
    """Of a token, which nothing ends before its time but a new secret; a key of that lifetime can be disabled."""
    if span > MAX_TOKEN:
        raise click.ClickException(
            f"--expires-in: a token lives for at most {MAX_TOKEN.days} days; a key may live longer"
        )
    if span > LONG_TOKEN:
        say(f"a token cannot be revoked, and this one is good for {span.days} days: a key can be disabled at any time")


def require_text(option: str, value: str) -> None:
    if not value.strip() or not value.isprintable():
        raise click.ClickException(f"{option}: must be printable and not empty")


@contextmanager
def refusals() -> Iterator[None]:
    """Errors of ours as one line and exit status 1."""
    try:
        yield
    except SchemaError as error:
        raise click.ClickException(_one_line(redact_values(flat(error.messages_dict)))) from None
    except UnicodeEncodeError:
        raise click.ClickException("what was given is no text in UTF-8") from None
    except AuthenticationFailed as error:
        raise click.ClickException(error.reason) from None
    except OSError as error:
        if error.errno == errno.EPIPE:  # whoever reads has had enough
            raise
        raise click.ClickException(f"stdout cannot be written: {error.strerror}") from None
    except KeyhookError as error:
        details = json.dumps(redact_values(error.details), ensure_ascii=False) if error.details else ""
        why = redact(error.reason) if error.reason else details
        raise click.ClickException(f"{error.text}{': ' if why else ''}{why}") from None


def every_row(keyring: Keyring) -> Iterator[Any]:
    after: int | None = 0
    while after is not None:
        rows, after = keyring.page(MAX_PAGE, after)
        yield from rows


def _copy(database: Path, target: Path) -> None:
    with closing(connect(database)) as source, closing(connect(target)) as copy:
        source.backup(copy)
        stamp(copy)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _counted(rows: Sequence[Any]) -> str:
    return f"{len(rows)} key" if len(rows) == 1 else f"{len(rows)} keys"


def _in_reach(span: timedelta) -> timedelta:
    try:
        datetime.now(UTC) + span
    except OverflowError:
        raise click.ClickException("that is beyond the year 9999") from None
    if not span:
        raise click.ClickException("--expires-in: must be longer than nothing")
    return span


def _one_line(messages: dict[str, Any]) -> str:
    return "; ".join(f"{name}: {json.dumps(what, ensure_ascii=False)}" for name, what in messages.items())


def install(app: Flask) -> None:
    for entry in (token, group, backup):
        app.cli.add_command(entry)
