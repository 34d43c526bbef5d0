"""The file of declared keys: TOML with a table [[api_keys]] a key, which may stand in a public repository.

A mistake is one line that names the table and the field, and never repeats what it found there: it may be a secret.
"""

import hashlib
import tomllib
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from flask import Flask
from marshmallow import ValidationError as SchemaError
from marshmallow import fields, post_load, validate

from cli.table import visible
from errors import DatabaseUnavailable, StartupError, ValidationError
from formats.api_key import PREFIX
from formats.redaction import has_credential, redact, redact_values
from keys.declared import Declared, Mistake, Reconciliation, reconcile
from keys.key_fields import UNSET, NewKey
from observability.build import COMMAND
from observability.terminal import say
from runtime.state import state_of
from schemas import CreateKey
from web.contract import flat
from web.fields import KeyId, StrictBoolean, Timestamp

SETTING = "KEYHOOK_KEYS_FILE"
OWNER = "file"  # of a key whose table names none
MAX_LINE = 300  # characters of a line about a mistake
_HASH = r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}\Z"
_SECRETS = ("secret", "api_key", "key", "token", "password")  # fields that somebody may take for the right one
_INSTEAD = f"a file never holds a key itself: write its secret_hash, from `{COMMAND} keys generate`"


class FileError(Exception):
    """A file that cannot be applied, as one line."""


class KeysFile(NamedTuple):
    name: str  # for the audit: two files of one name differ in it
    keys: list[Declared]


class Moment(Timestamp):
    """A time of TOML's own type, or a text."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = value.isoformat() if isinstance(value, datetime) else value
        return super()._deserialize(text, attr, data, **kwargs)


class Person(fields.String):
    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if not text.strip() or not text.isprintable():
            raise SchemaError("Must be printable and not empty.")
        return text


class Table(CreateKey):
    """The fields of a key, and what `flask keys generate` prints. An end may lie in the past: time goes on."""

    expires_at = Moment()
    id = KeyId(required=True)
    prefix = fields.String(required=True, validate=validate.Regexp(PREFIX.pattern + r"\Z", error="Not a prefix."))
    hint = fields.String(load_default=None, validate=validate.Regexp(r"…?[0-9a-f]{4}\Z", error="Not a hint."))
    secret_hash = fields.String(required=True, validate=validate.Regexp(_HASH, error="Not a bcrypt hash."))
    owner = Person(load_default=OWNER)
    tenant = Person(load_default="default")
    disabled = StrictBoolean(load_default=False)

    @post_load
    def make(self, given: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


_table = Table()
_OF_KEY = ("id", "tenant", "owner", "secret_hash", "prefix", "hint", "disabled")


def read_keys_file(path: Path) -> KeysFile:
    """Raises FileError."""
    try:
        raw = path.read_bytes()
        document = tomllib.loads(raw.decode())
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FileError("is no text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        where = str(error).rpartition("(")[2].rstrip(")")  # the rest may repeat a part of the file
        raise FileError(f"is no TOML: {where}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, or a list that is nested too deep
        raise FileError("is no TOML that can be read") from None
    try:
        keys = _declared(document)
    except Mistake as mistake:
        raise _refused(mistake) from None
    return KeysFile(f"{path.name} {hashlib.sha256(raw).hexdigest()[:12]}", keys)


def apply(app: Flask, path: Path, *, prune: bool = False, dry_run: bool = False) -> Reconciliation:
    """Raises FileError, and DatabaseUnavailable."""
    state, file = state_of(app), read_keys_file(path)
    try:
        for key in file.keys:
            _require_lifetime(key, state.settings.lifetimes)
        return reconcile(state.storage, file.keys, file.name, prune=prune, dry_run=dry_run)
    except Mistake as mistake:
        raise _refused(mistake) from None


def apply_at_start(app: Flask) -> None:
    """Applies the file of the setting, if there is one. Raises StartupError, and then has closed the database."""
    state = state_of(app)
    path = state.settings.keys_file
    if path is None:
        return
    try:
        done = apply(app, path)
    except (FileError, DatabaseUnavailable) as error:
        state.close()
        why = f"{path.name}: {error}" if isinstance(error, FileError) else f"the database fails: {error.reason}"
        raise StartupError(f"{SETTING}: {why}") from None
    if done.created or done.changed:
        say(f"{path.name}: created {len(done.created)}, changed {len(done.changed)} declared keys")


def _refused(mistake: Mistake) -> FileError:
    """One line, without a credential: names in it are those of the file."""
    return FileError(visible(redact(str(mistake)))[:MAX_LINE])


def _declared(document: dict[str, Any]) -> list[Declared]:
    tables = document.get("api_keys", [])
    if document.keys() - {"api_keys"} or not isinstance(tables, list):
        raise FileError("holds something other than tables [[api_keys]]")
    keys = [_read(number, table) for number, table in enumerate(tables, 1)]
    _require_different(keys)
    return keys


def _read(number: int, table: Any) -> Declared:
    name = table.get("name") if isinstance(table, dict) else None
    shown = name if isinstance(name, str) and name.isprintable() and not has_credential(name) else ""
    if not isinstance(table, dict):
        raise FileError("holds something other than tables [[api_keys]]")
    for member, value in table.items():
        if member in _SECRETS or redact_values(value) != value:
            raise Mistake(number, shown, member, _INSTEAD)
    try:
        given = _table.load(table)
    except SchemaError as error:
        member, [what, *_] = next(iter(flat(error.messages_dict).items()))
        raise Mistake(number, shown, member, what) from None
    own = {column: given.pop(column) for column in _OF_KEY}
    return Declared(number, NewKey(**given), **{**own, "hint": (own["hint"] or "").lstrip("…") or None})


def _require_different(keys: list[Declared]) -> None:
    ids, names = Counter(key.id for key in keys), Counter((key.tenant, key.new.name) for key in keys)
    for key in keys:
        if ids[key.id] > 1:
            raise key.mistake("id", "two tables have this id")
        if names[key.tenant, key.new.name] > 1:
            raise key.mistake("name", "two tables of this tenant have this name")


def _require_lifetime(key: Declared, lifetimes: Any) -> None:
    try:
        lifetimes.require(None if key.new.expires_at is UNSET else key.new.expires_at)
    except ValidationError as error:
        raise key.mistake("expires_at", error.details["expires_at"][0]) from None
