"""`flask keys`: the functions of the API, for an operator on the machine itself.

Results go to stdout, all else to stderr. Exit status: 1 for a refusal, 2 for a wrong command line.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import click
from flask import Flask, current_app
from flask.cli import AppGroup, with_appcontext

from cli import keys_file
from cli.options import (
    Duration,
    Note,
    Rate,
    errors_as_exit_status,
    in_reach,
    operator_keys,
    require_text,
    tenant_option,
)
from cli.table import in_words, key_table, visible
from errors import AuthenticationFailed
from formats.names import nfc
from formats.times import timestamp, wire_time
from identity.rates import RateLimit
from keys.hashing import new_secret
from keys.key_fields import KeyChanges
from keys.selection import ALL, Selection
from keys.tenant_keys import Minted, TenantKeys
from keys.verification import new_id
from models import KeyRow, status
from runtime.state import SETTINGS, service
from schemas import MAX_PAGE, STATUSES, CreateKey, DeleteKeyById, Key, RotateKey

FOUND = 3  # the exit status of a list that was to be empty

group = AppGroup("keys", help="Make, show and change API keys.")


def command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """Makes a command of `flask keys`: it takes --tenant, passes a TenantKeys first, and ends with 1 on a refusal."""

    def decorate(function: Callable[..., None]) -> click.Command:
        @group.command(name)
        @tenant_option
        @wraps(function)
        def run(tenant: str, **arguments: Any) -> None:
            with errors_as_exit_status():
                function(operator_keys(tenant), **arguments)

        return run

    return decorate


@command("create")
@click.argument("name")
@click.option("--role", help="check, read or write; write if left out.")
@click.option("--scope", "scopes", multiple=True, help="What the key may do elsewhere; may be repeated.")
@click.option("--expires-in", type=Duration(), help="For ever if left out.")
@click.option("--owner", help="The person behind it; your login name if left out.")
@click.option("--description")
@click.option("--host", "hosts", multiple=True, help="Where it is good at the gate; may be repeated. Any if left out.")
@click.option("--network", "networks", multiple=True, help="From where it may be used; may be repeated.")
@click.option("--rate-limit", type=Rate(), help="As 100/1m: how often it may be used at the gate.")
@click.option("--metadata", "notes", type=Note(), multiple=True, help="A note as name=text; may be repeated.")
def create(
    keyring: TenantKeys,
    owner: str | None,
    expires_in: timedelta | None,
    rate_limit: RateLimit | None,
    notes: tuple[tuple[str, str], ...],
    **given: str | tuple[str, ...] | None,
) -> None:
    """Mint a key and print it: this is the only time it is shown."""
    if owner is not None:
        require_text("--owner", owner)
    fields: dict[str, Any] = {member: value for member, value in given.items() if value}
    fields |= {member: list(value) for member, value in fields.items() if isinstance(value, tuple)}
    if rate_limit is not None:
        fields["rate_limit"] = rate_limit._asdict()
    if notes:
        fields["metadata"] = dict(notes)
    if expires_in is not None:
        fields["expires_at"] = timestamp(datetime.now(UTC) + in_reach(expires_in))
    print_secret(lambda: keyring.create(CreateKey().load(fields), owner))


@command("list")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.option("--owner", help="Those of this person.")
@click.option("--status", type=click.Choice(STATUSES), help="Those with this status.")
@click.option("--unused", type=Duration(), help="Active ones that were not used for so long.")
@click.option("--expiring", type=Duration(), help="Active ones that end within that time.")
@click.option("--check", is_flag=True, help="End with status 3 if there is any: for cron.")
def list_keys(keyring: TenantKeys, as_json: bool, check: bool, **wanted: Any) -> None:
    """Show all keys, or those that meet every demand, without their secrets."""
    rows = list(every_row(keyring, selection(**wanted)))
    if as_json:
        click.echo(json.dumps(Key(many=True).dump(rows), indent=2, ensure_ascii=False))
    else:
        for line in key_table(rows):
            click.echo(line)
    if check and rows:
        click.get_current_context().exit(FOUND)


def selection(owner: str | None, status: str | None, unused: timedelta | None, expiring: timedelta | None) -> Selection:
    """A key that is refused anyway is neither unused nor about to end, unless that status is asked for."""
    by_time = unused is not None or expiring is not None
    return Selection(
        status=status or ("active" if by_time else ""),
        owner=owner or "",
        unused_since=ago(unused) if unused is not None else None,
        expires_before=timestamp(datetime.now(UTC) + in_reach(expiring)) if expiring is not None else None,
    )


@command("rotate")
@click.argument("name")
@click.option("--grace", type=Duration(), default="0s", help="How long the old secret goes on working.")
def rotate(keyring: TenantKeys, name: str, grace: timedelta) -> None:
    """Give a key a new secret and print it."""
    rotation = RotateKey().load({"grace_seconds": int(grace.total_seconds())})
    print_secret(lambda: keyring.rotate(nfc(name), **rotation))


@command("disable")
@click.argument("name", required=False)
@click.option("--owner", help="Instead of NAME: all keys of this person; prints their names.")
def disable(keyring: TenantKeys, name: str | None, owner: str | None) -> None:
    """Refuse a key until it is enabled again."""
    if (name is None) == (owner is None):
        raise click.UsageError("give either a NAME or --owner")
    if owner is None:
        keyring.update(nfc(name or ""), KeyChanges(disabled=True))
    else:
        for row in keyring.disable_all_of(owner):
            click.echo(row.name)


@command("enable")
@click.argument("name")
def enable(keyring: TenantKeys, name: str) -> None:
    """Accept a disabled key again."""
    keyring.update(nfc(name), KeyChanges(disabled=False))


@command("delete")
@click.argument("name", required=False)
@click.option("--id", "key_id", help="Instead of NAME; with --cascade also that of a key that is gone.")
@click.option("--cascade", is_flag=True, help="Also every key that was minted with it, and theirs.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(keyring: TenantKeys, name: str | None, key_id: str | None, cascade: bool, yes: bool) -> None:
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
def prune(keyring: TenantKeys, expired: timedelta, dry_run: bool) -> None:
    """Delete the keys that expired so long ago, and print their names."""
    before = ago(expired)
    for name in [row.name for row in keyring.expired(before)] if dry_run else keyring.prune(before):
        click.echo(name)


@group.command("generate")
@click.argument("name")
@click.option("--role", help="check, read or write; write if left out.")
@click.option("--scope", "scopes", multiple=True, help="What the key may do elsewhere; may be repeated.")
@with_appcontext
def generate(name: str, role: str | None, scopes: tuple[str, ...]) -> None:
    """Make a key for a file of declared keys: the key on stdout, its table on stderr. Needs no database."""
    with errors_as_exit_status():
        asked = {"name": name, "scopes": list(scopes), **({"role": role} if role else {})}
        new, settings = CreateKey().load(asked), current_app.extensions[SETTINGS]
        key_id, secret = new_id(), new_secret(settings.key_prefix, settings.bcrypt_rounds)
        table = {"name": new.name, "id": key_id, "prefix": secret.prefix, "hint": secret.kept(key_id)["hint"]}
        table |= {"secret_hash": secret.hash, **({"role": role} if role else {})}
        print_secret(lambda: Minted(secret.text(key_id), key_id, new.name))
        lines = [f"{member} = {json.dumps(value, ensure_ascii=False)}" for member, value in table.items()]
        lines += [f"scopes = {json.dumps(list(scopes))}"] if scopes else []
        click.echo("\n".join(["[[api_keys]]", *lines]), err=True)


@group.command("apply")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only print what would be done.")
@click.option("--prune", is_flag=True, help="Delete the declared keys that the file has no more.")
@with_appcontext
def apply(file: Path, dry_run: bool, prune: bool) -> None:
    """Make the declared keys agree with FILE, and print what was done to which."""
    with errors_as_exit_status():
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        try:
            done = keys_file.apply(app, file, prune=prune, dry_run=dry_run)
        except keys_file.FileError as error:
            raise click.ClickException(f"{visible(file.name)}: {error}") from None
        for what in ("created", "changed", "deleted"):
            for key in getattr(done, what):
                click.echo(f"{what} {key.name}" + (f" of {visible(key.tenant)}" if key.tenant != "default" else ""))
        if done.left:
            click.echo(f"the file has {_counted(done.left)} no more: --prune deletes them", err=True)


@command("inspect")
def inspect(keyring: TenantKeys) -> None:
    """Read a key on stdin and say which it is, without printing it."""
    given = sys.stdin.buffer.readline() if sys.stdin else b""
    row, matched_hash = service().keys.authenticate_secret(given.decode(errors="replace").strip())
    if row.tenant != keyring.tenant:
        raise AuthenticationFailed("unknown key")
    owner, expiry = visible(row.owner), in_words(row.expires_at)
    click.echo(f"{row.name}: {status(row)}, role {row.role}, owner {owner}, expires {expiry}")
    if matched_hash != row.secret_hash:
        click.echo(f"an earlier secret, good until {wire_time(row.previous_until)}", err=True)


def print_secret(mint: Callable[[], Minted]) -> None:
    """Mints a key and prints it. A closed stdout is refused first, since the key would be lost."""
    if sys.stdout is None:
        raise click.ClickException("stdout is closed, and the key would be shown nowhere else")
    minted = mint()
    try:
        click.echo(minted.api_key)
    except OSError as error:
        why = f"{minted.name!r} was made, but its key cannot be printed ({error.strerror}): rotate it"
        raise click.ClickException(why) from None


def ago(span: timedelta) -> str:
    try:
        return timestamp(datetime.now(UTC) - span)
    except OverflowError:
        raise click.ClickException("that is before the year 1") from None


def every_row(keyring: TenantKeys, wanted: Selection = ALL) -> Iterator[KeyRow]:
    after: int | None = 0
    while after is not None:
        rows, after = keyring.page(MAX_PAGE, after, wanted)
        yield from rows


def _counted(rows: Sequence[object]) -> str:
    return f"{len(rows)} key" if len(rows) == 1 else f"{len(rows)} keys"


def install(app: Flask) -> None:
    app.cli.add_command(group)
