"""What the service was told to do: each value checked once, at the start, with one line that names the variable.

Values come from the defaults, then the environment, then the argument of `create_app`. Nothing falls back silently.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from errors import StartupError
from formats.api_key import PREFIX

MIN_SECRET = 32  # bytes, for HS256 (RFC 7518 section 3.2)
# Of a secret (RFC 8725 section 3.5). A random one has fewer in one of 10^18 cases with 64 hexadecimal digits, in one of
# 10^21 with 32 characters of base64, in one of 10^7 with 32 hexadecimal digits.
MIN_VARIETY = 8  # different bytes
MIN_PERIOD = 16  # bytes before it repeats itself
GUESSABLE = (
    "the secret that signs tokens is easily guessed, and who guesses it is an admin: "
    "take a random one, as `openssl rand -hex 32` prints it"
)
PATHS = ("KEYHOOK_DATA_DIR", "KEYHOOK_DATABASE_URL")
BCRYPT_ROUNDS = range(4, 32)
TRUSTED_PROXIES = range(0, 101)


@dataclass(frozen=True)
class Settings:
    data_dir: Path
    database: Path
    key_prefix: str
    bcrypt_rounds: int
    trusted_proxies: int
    require_database: bool  # whether a database that is not there stops the start
    secret_key: bytes  # empty: the one in the file, which the start puts here

    @property
    def secret_file(self) -> Path:
        return self.data_dir / "secret_key"


def load(values: Mapping[str, Any]) -> Settings:
    """Raises StartupError for a value that makes no sense, an empty one included."""
    given = {
        name: os.fsdecode(value) if isinstance(value, bytes) else str(value)
        for name, value in values.items()
        if name.startswith("KEYHOOK_") and value is not None
    }
    for name, value in given.items():
        _require_text(name, value, as_typed=not isinstance(values[name], Path))
    if "://" in given["KEYHOOK_DATA_DIR"]:  # it may hold a password, and the name of a directory is shown
        raise refuse("KEYHOOK_DATA_DIR", "must be a directory, not a URL")
    data_dir = Path(given["KEYHOOK_DATA_DIR"]).absolute()
    return Settings(
        data_dir=data_dir,
        database=_database(given.get("KEYHOOK_DATABASE_URL"), data_dir),
        key_prefix=_prefix(given["KEYHOOK_KEY_PREFIX"]),
        bcrypt_rounds=_whole_number(given, "KEYHOOK_BCRYPT_ROUNDS", BCRYPT_ROUNDS),
        trusted_proxies=_whole_number(given, "KEYHOOK_TRUSTED_PROXIES", TRUSTED_PROXIES),
        require_database=_switch(given, "KEYHOOK_REQUIRE_DATABASE"),
        secret_key=_secret(given.get("KEYHOOK_SECRET_KEY")),
    )


def refuse(name: str, why: str) -> StartupError:
    return StartupError(f"{name} {why}")


def environment(defaults: Mapping[str, Any]) -> dict[str, str]:
    """The variables that have a default, as text: a secret that looks like a number stays what it is."""
    return {name: os.environ[name] for name in defaults if name in os.environ}


def secret_of(name: str, value: bytes) -> bytes:
    """The value when it can sign; raises StartupError."""
    if len(value) < MIN_SECRET:
        raise refuse(name, f"holds {len(value)} bytes; a secret needs at least {MIN_SECRET}")
    try:
        jwt.encode({}, value, algorithm="HS256")
    except jwt.InvalidKeyError:
        raise refuse(name, "holds a key of another kind (PEM, SSH, JWK); a secret is any random text") from None
    return value


def is_guessable(secret: bytes) -> bool:
    """Whether a secret has so little variety that no generator made it (RFC 8725 section 3.5)."""
    return len(set(secret)) < MIN_VARIETY or _period(secret) < MIN_PERIOD


def _require_text(name: str, value: str, *, as_typed: bool) -> None:
    """Raises StartupError for an empty value and for one that a shell would have changed: no shell has seen it.

    `as_typed`: it came as text. A Path is what the program around, or the place of this file, makes it.
    """
    if not value.strip():
        raise refuse(name, "is set but empty; unset it to use the default")
    if name in PATHS and not value.isprintable():
        raise refuse(name, "must be printable text")
    if not as_typed:
        return
    if value != value.strip():
        raise refuse(name, "begins or ends with white space")
    if value[0] in "\"'" or value[-1] in "\"'":
        raise refuse(name, "begins or ends with a quote, which is no part of the value: write it without")
    if value[0] == "~" or "$" in value:
        raise refuse(name, "begins with ~ or holds $, which nothing here replaces: write out what it stands for")


def _period(value: bytes) -> int:
    """The length of the shortest beginning that makes the whole when it is repeated."""
    return next(length for length in range(1, len(value) + 1) if value[length:] == value[:-length])


def _switch(given: Mapping[str, str], name: str) -> bool:
    if given[name] not in ("0", "1"):
        raise refuse(name, "must be 0 or 1")
    return given[name] == "1"


def _secret(value: str | None) -> bytes:
    return secret_of("KEYHOOK_SECRET_KEY", os.fsencode(value)) if value is not None else b""


def _prefix(value: str) -> str:
    if not PREFIX.fullmatch(value):
        raise refuse("KEYHOOK_KEY_PREFIX", "must be 2 to 10 of a-z and 0-9, the first a letter")
    return value


def _whole_number(given: Mapping[str, str], name: str, allowed: range) -> int:
    value = given[name]
    if not re.fullmatch(r"[0-9]{1,4}", value) or int(value) not in allowed:
        raise refuse(name, f"must be a whole number from {allowed[0]} to {allowed[-1]}")
    return int(value)


def _database(value: str | None, data_dir: Path) -> Path:
    if value is None:
        return data_dir / "keyhook.db"
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise refuse("KEYHOOK_DATABASE_URL", "is no database URL") from None
    more = url.query or url.host or url.port or url.username or url.password
    if url.drivername not in ("sqlite", "sqlite+pysqlite") or more:
        raise refuse("KEYHOOK_DATABASE_URL", "must be sqlite:///path/to/file, without options")
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise refuse("KEYHOOK_DATABASE_URL", "must name a file: keys have to survive the process")
    if url.database.startswith("~"):
        raise refuse("KEYHOOK_DATABASE_URL", "names a path that begins with ~, which nothing here replaces")
    if "://" in url.database:
        raise refuse("KEYHOOK_DATABASE_URL", "holds one URL within another")
    return Path(url.database).absolute()
