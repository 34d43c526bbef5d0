"""The check of a key: its row is read now, its secret compared, its end checked."""

import uuid
from typing import NamedTuple

from sqlalchemy import bindparam, select

from errors import AuthenticationFailed
from formats import api_key
from formats.times import now
from keys.hashing import NewSecret, SecretHasher, new_secret
from keys.last_used import LastUse
from models import CheckedKey, KeyRow, api_keys, is_expired
from storage.database import Storage

_BY_ID = select(*(api_keys.c[column] for column in CheckedKey._fields)).where(api_keys.c.id == bindparam("key_id"))


class VerifiedKey(NamedTuple):
    """The row of a key, read now, and the stored hash that its secret matched."""

    row: CheckedKey
    matched_hash: str

    @property
    def ends_at(self) -> str | None:
        return ends_at(self.row, self.matched_hash)


class KeyVerifier:
    """Mints and checks keys for one service, with its prefix, its bcrypt cost and its cache."""

    def __init__(self, storage: Storage, prefix: str, rounds: int) -> None:
        self.prefix = prefix
        self.last_use = LastUse(storage.best_effort_writer())
        self.hasher = SecretHasher()
        self._look_up = storage.prepare(_BY_ID, CheckedKey._make)
        self._rounds = rounds

    def new_secret(self) -> NewSecret:
        """A new secret. It takes one bcrypt: about 1 ms at the lowest cost."""
        return new_secret(self.prefix, self._rounds)

    def verify(self, text: str) -> VerifiedKey:
        """Raises AuthenticationFailed, which tells the reason only to the holder of the right secret."""
        verified = self.authenticate_secret(text)
        row = verified.row
        if row.disabled:
            raise self._refused(row, "disabled key", told="The API key is disabled")
        if is_expired(row):
            raise self._refused(row, "expired key", told="The API key has expired")
        return verified

    def authenticate_secret(self, text: str) -> VerifiedKey:
        """The same, also for a disabled or expired key. Raises AuthenticationFailed."""
        parsed = api_key.read_key(text)
        if parsed is None:
            raise surrounded(text) or AuthenticationFailed("malformed key")
        row = self._look_up(parsed.id)
        if row is None:
            raise AuthenticationFailed("unknown key", key_id=parsed.id)
        matched = self.hasher.matching_hash(parsed.secret, valid_hashes(row))
        if matched is None:
            raise self._refused(row, "wrong secret")
        if parsed.prefix != (prefix_of(row, matched) or parsed.prefix):
            raise self._refused(row, "wrong prefix")
        return VerifiedKey(row, matched)

    def _refused(self, row: CheckedKey, why: str, told: str | None = None) -> AuthenticationFailed:
        """The refusal of a key that is there, counted: its owner sees that somebody tries."""
        self.last_use.refuse(row.id)
        return AuthenticationFailed(why, told=told, key_id=row.id)


def surrounded(text: str) -> AuthenticationFailed | None:
    """The refusal of a key with something around it, such as quotes; None for any other text."""
    key_id = api_key.surrounded_key(text)
    return AuthenticationFailed("a key with something around it", key_id=key_id) if key_id else None


def new_id() -> str:
    return str(uuid.uuid4())


def valid_hashes(row: KeyRow | CheckedKey) -> list[str]:
    """The hashes whose secrets are good now: the newest, and the one before it while its grace lasts."""
    if row.previous_until is not None and row.previous_until > now() and row.previous_hash is not None:
        return [row.secret_hash, row.previous_hash]
    return [row.secret_hash]


def prefix_of(row: KeyRow | CheckedKey, matched: str) -> str | None:
    """The prefix of a secret when it was minted. None: an early version did not store it, so any prefix is good."""
    return row.prefix if matched == row.secret_hash else row.previous_prefix


def ends_at(row: KeyRow | CheckedKey, matched: str) -> str | None:
    """The end of a credential: that of its key, or that of the grace of an old secret if it comes first."""
    if matched == row.secret_hash:
        return row.expires_at
    return min((end for end in (row.previous_until, row.expires_at) if end is not None), default=None)
