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

from credentials import PREFIX
from errors import StartupError

MIN_SECRET = 32  # bytes, for HS256 (RFC 7518 section 3.2)
BCRYPT_ROUNDS = range(4, 32)
TRUSTED_PROXIES = range(0, 101)


@dataclass(frozen=True)
class Settings:
    data_dir: Path
    database: Path
    key_prefix: str
    bcrypt_rounds: int
    trusted_proxies: int
    secret_key: bytes  # empty: the one in the file, which bootstrap puts here

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
        if not value.strip():
            raise refuse(name, "is set but empty; unset it to use the default")
        if name in ("KEYHOOK_DATA_DIR", "KEYHOOK_DATABASE_URL") and not value.isprintable():
            raise refuse(name, "must be printable text")
    data_dir = Path(given["KEYHOOK_DATA_DIR"]).absolute()
    return Settings(
        data_dir=data_dir,
        database=_database(given.get("KEYHOOK_DATABASE_URL"), data_dir),
        key_prefix=_prefix(given["KEYHOOK_KEY_PREFIX"]),
        bcrypt_rounds=_whole_number(given, "KEYHOOK_BCRYPT_ROUNDS", BCRYPT_ROUNDS),
        trusted_proxies=_whole_number(given, "KEYHOOK_TRUSTED_PROXIES", TRUSTED_PROXIES),
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
    return Path(url.database).absolute()
