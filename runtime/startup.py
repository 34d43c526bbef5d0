"""Before the first request: the data directory, the database at the newest schema, the secret.

Many processes may do it at once: it happens under a lock on the directories. Each file appears whole or not at all: it
is made under another name, synced, and renamed. So a database that is missing beside its secret was lost: then the
start stops with one line, and nothing is made anew in its place.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from observability.terminal import is_server, say
from runtime.engine import provision
from runtime.permissions import say_who_else
from runtime.settings import Settings
from runtime.settings_table import refuse
from runtime.signing_secret import GUESSABLE, is_guessable, secret_of
from storage.files import alone_in, create_file, make_directory, sync_directory


@contextmanager
def prepared(settings: Settings) -> Iterator[Settings]:
    """Makes what the settings name and is missing, and yields them with the secret. Raises StartupError.

    Until the block ends no other process starts or restores, so the database that the block opens is the one that was
    examined.
    """
    if settings.postgresql:
        if provision(settings) and not is_server():
            say("made the tables of a new database in PostgreSQL")
        _say_if_guessable(settings)
        yield settings
        return
    if settings.require_database and not os.path.lexists(settings.database):
        raise refuse("KEYHOOK_REQUIRE_DATABASE", f"is 1, but {settings.database} is not there: is its disk mounted?")
    with alone(settings):
        new_database, new_secret = provision(settings), False
        if not settings.secret_key:
            new_secret = not os.path.lexists(settings.secret_file)
            settings = replace(settings, secret_key=_secret(settings.secret_file))
        _say_what_is_new(settings, new_database, new_secret)
        say_who_else(settings)
        _say_if_guessable(settings)
        yield settings


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Makes the directories and holds their locks: another start or restore waits until the block ends."""
    _make_directory("KEYHOOK_DATA_DIR", settings.data_dir)
    _make_directory("KEYHOOK_DATABASE_URL", settings.database.parent)
    with ExitStack() as stack:
        try:
            stack.enter_context(alone_in(settings.data_dir, settings.database.parent))
        except OSError as error:
            raise refuse("KEYHOOK_DATA_DIR", f"cannot be read at {error.filename}: {error.strerror}") from None
        yield


def _make_directory(name: str, path: Path) -> None:
    try:
        make_directory(path)
    except OSError as error:
        raise refuse(name, f"cannot be made at {path}: {error.strerror}") from None


def _say_what_is_new(settings: Settings, database: bool, secret: bool) -> None:
    """Warns a person at a command: with other settings than the service's, it works on files of its own."""
    places = [
        f"a new {what} at {path}"
        for what, path, new in (("database", settings.database, database), ("secret", settings.secret_file, secret))
        if new
    ]
    if places and not is_server():
        say(f"made {' and '.join(places)}")


def _say_if_guessable(settings: Settings) -> None:
    if is_guessable(settings.secret_key):
        say(GUESSABLE)


def _secret(path: Path) -> bytes:
    if not os.path.lexists(path):
        _create_secret(path)
    try:
        return secret_of(f"KEYHOOK_SECRET_KEY is not set and {path}", path.read_bytes().strip())
    except OSError as error:
        raise refuse("KEYHOOK_SECRET_KEY", f"is not set and {path} cannot be read: {error.strerror}") from None


def _create_secret(path: Path) -> None:
    new = path.with_name(f"{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(create_file(new), "wb") as file:
            file.write(secrets.token_hex(32).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise refuse("KEYHOOK_SECRET_KEY", f"is not set and {path} cannot be made: {error.strerror}") from None
