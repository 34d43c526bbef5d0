"""The parsers of the settings: each takes the name and the text of a setting, and raises StartupError."""

import os
import re
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from formats.api_key import PREFIX
from formats.durations import read_duration
from observability.build import how_to_install
from runtime.settings_table import Parser, refuse
from runtime.signing_secret import secret_of

if TYPE_CHECKING:
    from storage.postgresql.address import Address

MIN_BEARER, MAX_BEARER = 16, 4096  # characters
LONGEST = timedelta(days=36_500)  # of a key's life


def path(name: str, value: str) -> Path:
    """A file or a directory."""
    require_printable(name, value)
    if "://" in value:  # it may hold a password, and a path is shown
        raise refuse(name, "must be a path, not a URL")
    return Path(value).absolute()


def database(name: str, value: str) -> "Path | Address":
    """The file of SQLite, or the address of PostgreSQL."""
    return server(name, value) if value.startswith("postgresql:") else _file(name, value)


def server(name: str, value: str) -> "Address":
    """The address of PostgreSQL."""
    require_printable(name, value)
    if find_spec("psycopg") is None:
        raise refuse(name, f"names PostgreSQL, which needs `{how_to_install('postgresql')}`")
    from storage.postgresql.address import read_address  # without the driver there is none

    try:
        if not value.startswith("postgresql:"):
            raise ValueError
        return read_address(value)
    except ValueError:
        form = "postgresql://USER:PASSWORD@HOST[,HOST...]/NAME[?options of libpq]"
        raise refuse(name, f"must be {form}, special characters as %40") from None


def _file(name: str, value: str) -> Path:
    require_printable(name, value)
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise refuse(name, "is no database URL") from None
    more = url.query or url.host or url.port or url.username or url.password
    if url.drivername not in ("sqlite", "sqlite+pysqlite") or more:
        raise refuse(name, "must be sqlite:///path/to/file, without options, or begin with postgresql://")
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise refuse(name, "must name a file: keys have to survive the process")
    if url.database.startswith("~"):
        raise refuse(name, "names a path that begins with ~, which nothing here replaces")
    if "://" in url.database:
        raise refuse(name, "holds one URL within another")
    return Path(url.database).absolute()


def is_url_of_server(value: str) -> bool:
    """Whether a database URL may hold a password: the URL of a file holds none, any part of another may be one."""
    return not value.startswith("sqlite")


def signing_secret(name: str, value: str) -> bytes:
    return secret_of(name, os.fsencode(value))


def bearer_in_file(name: str, value: str) -> bytes:
    """The bearer that a file holds, without the white space around it. No refusal repeats anything of either."""
    require_printable(name, value)
    try:
        with open(value, "rb") as file:
            held = file.read(MAX_BEARER + 1).strip()
    except OSError as error:
        raise refuse(name, f"names a file that cannot be read: {error.strerror}") from None
    if not MIN_BEARER <= len(held) <= MAX_BEARER:
        raise refuse(name, f"names a file that must hold {MIN_BEARER} to {MAX_BEARER} characters")
    if not re.fullmatch(rb"[!-~]+", held):
        raise refuse(name, "names a file that must hold one word of printable ASCII")
    return held


def key_prefix(name: str, value: str) -> str:
    if not PREFIX.fullmatch(value):
        raise refuse(name, "must be 2 to 10 of a-z and 0-9, the first a letter")
    return value


def shared_limits(name: str, value: str) -> str:
    """The address of a Redis."""
    require_printable(name, value)
    try:
        parts = urlsplit(value)
        fits = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise refuse(name, "must be redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER], or begin with rediss:// for TLS")
    if find_spec("redis") is None:
        raise refuse(name, f"names Redis, which needs `{how_to_install('redis')}`")
    return value


def lifetime(name: str, value: str) -> timedelta:
    span = read_duration(value)
    if span is None or not timedelta() < span <= LONGEST:
        raise refuse(name, f"must be a number and one of s m h d w, as in 90d, and at most {LONGEST.days}d")
    return span


def switch(name: str, value: str) -> bool:
    if value not in ("0", "1"):
        raise refuse(name, "must be 0 or 1")
    return value == "1"


def on_or_off(name: str, value: str) -> bool:
    if value not in ("on", "off"):
        raise refuse(name, "must be on or off")
    return value == "on"


def whole_number(least: int, most: int) -> Parser[int]:
    """A parser that takes at most four digits."""

    def parse(name: str, value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,4}", value) or not least <= int(value) <= most:
            raise refuse(name, f"must be a whole number from {least} to {most}")
        return int(value)

    return parse


def require_printable(name: str, value: str) -> None:
    if not value.isprintable():
        raise refuse(name, "must be printable text")
