"""Whether a key is good: its row read now, its secret compared, its end looked at."""

import uuid
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import bcrypt
from sqlalchemy import Row, bindparam, select

from errors import AuthenticationFailed
from formats import api_key
from formats.times import now
from keys.hashing import NewSecret, SecretHasher
from keys.last_used import LastUse
from models import api_keys, is_expired
from storage.database import Storage

_NOT_NEEDED = {"seq", "description", "created_by_key", "last_used_ip", "hint", "disabled_by"}
_BY_ID = select(*(column for column in api_keys.c if column.name not in _NOT_NEEDED)).where(
    api_keys.c.id == bindparam("key_id")
)
_Row = namedtuple("_Row", _BY_ID.selected_columns.keys())  # type: ignore[misc]


class KeyVerifier:
    """Mints and checks keys for one service: its prefix, its bcrypt cost, its memory."""

    def __init__(self, storage: Storage, prefix: str, rounds: int) -> None:
        self.prefix = prefix
        self.last_use = LastUse(storage.best_effort_writer())
        self.verifier = SecretHasher()
        self._look_up: Callable[[str], Any] = storage.prepare(_BY_ID, _Row._make)
        self._rounds = rounds

    def new_secret(self) -> NewSecret:
        """Takes one bcrypt: about 1 ms at its lowest cost."""
        secret = api_key.new_secret()
        hashed = bcrypt.hashpw(secret.encode(), bcrypt.gensalt(self._rounds)).decode()
        return NewSecret(self.prefix, secret, hashed)

    def check(self, text: str) -> tuple[Row[Any], str]:
        """The row of a good key, read now, and the hash that its secret matched.

        Raises AuthenticationFailed; what is wrong is told only to the holder of the right secret.
        """
        row, matched = self.find(text)
        if row.disabled:
            raise AuthenticationFailed("disabled key", told="The API key is disabled", key_id=row.id)
        if is_expired(row):
            raise AuthenticationFailed("expired key", told="The API key has expired", key_id=row.id)
        return row, matched

    def find(self, text: str) -> tuple[Row[Any], str]:
        """The same for a key that may be disabled or expired. Raises AuthenticationFailed."""
        parsed = api_key.read_key(text)
        if parsed is None:
            raise surrounded(text) or AuthenticationFailed("malformed key")
        row = self._look_up(parsed.id)
        if row is None:
            raise AuthenticationFailed("unknown key", key_id=parsed.id)
        matched = self.verifier.match(parsed.secret, valid_hashes(row))
        if matched is None:
            raise AuthenticationFailed("wrong secret", key_id=parsed.id)
        if parsed.prefix != (prefix_of(row, matched) or parsed.prefix):
            raise AuthenticationFailed("wrong prefix", key_id=parsed.id)
        return row, matched


def surrounded(text: str) -> AuthenticationFailed | None:
    """The refusal of a key that was pasted with what stood around it, such as quotes; None for anything else."""
    key_id = api_key.surrounded_key(text)
    return AuthenticationFailed("a key with something around it", key_id=key_id) if key_id else None


def new_id() -> str:
    return str(uuid.uuid4())


def valid_hashes(row: Row[Any]) -> list[str]:
    """The hashes whose secrets are good now: the newest, and the one before it while its grace lasts."""
    if row.previous_until is not None and row.previous_until > now():
        return [row.secret_hash, row.previous_hash]
    return [row.secret_hash]


def prefix_of(row: Row[Any], matched: str) -> str | None:
    """The prefix under which a secret was minted; None when that was not kept then, so that any is good."""
    return row.prefix if matched == row.secret_hash else row.previous_prefix  # type: ignore[no-any-return]


def ends_at(row: Row[Any], matched: str) -> str | None:
    """When a credential ends: with its key, or before that with the grace of a secret that was rotated away."""
    if matched == row.secret_hash:
        return row.expires_at  # type: ignore[no-any-return]
    return min(row.previous_until, row.expires_at or row.previous_until)  # type: ignore[no-any-return]
