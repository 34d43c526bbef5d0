"""What a key is: minted, checked, noted as used. The one place that compares a secret."""

import hashlib
import hmac
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import bcrypt
from sqlalchemy import Row, bindparam, or_, select, update

from errors import AuthenticationFailed, DatabaseUnavailable
from formats import api_key
from formats.times import now, timestamp
from keys.bounded_cache import Memory
from models import api_keys, is_expired
from storage.sqlite.database import Lookup, LooseWriter, Storage

MEMORY_SIZE = 16_384  # verified secrets that a process remembers: about 4 MB
USE_INTERVAL = 60  # seconds between two writes of one key's last use
USE_PENDING = 10_000  # keys whose use could not be written yet
USE_RETRY = 0.5  # seconds after a write of uses that failed
HINT = 4  # characters at the end of a key by which people tell it from others
USE_AT_END = 0.3  # seconds that the last write of uses may take

_NOT_NEEDED = {"seq", "description", "created_by_key", "last_used_ip", "hint", "disabled_by"}
_BY_ID = Lookup(
    select(*(column for column in api_keys.c if column.name not in _NOT_NEEDED)).where(
        api_keys.c.id == bindparam("key_id")
    )
)
_NOTE_USE = (
    update(api_keys)
    .where(
        api_keys.c.id == bindparam("key_id"),
        or_(
            api_keys.c.last_used_at.is_(None),
            api_keys.c.last_used_at < bindparam("due"),
            api_keys.c.last_used_at > bindparam("ahead"),
        ),
    )
    .values(last_used_at=bindparam("at"), last_used_ip=bindparam("ip"))
)


class NewSecret(NamedTuple):
    """`hash` is what is kept; the rest goes to the holder, once, as the text of the key."""

    prefix: str
    secret: str
    hash: str

    def text(self, key_id: str) -> str:
        return api_key.write_key(self.prefix, key_id, self.secret)

    def kept(self, key_id: str) -> dict[str, str]:
        """The columns of a key's row that it fills."""
        return {"secret_hash": self.hash, "prefix": self.prefix, "hint": self.text(key_id)[-HINT:]}


class Verifier:
    """Compares secrets with stored hashes, and remembers which it has seen to match.

    bcrypt at its lowest cost takes about 1 ms. A secret is 256 random bits, which no work factor protects any further,
    so after one success the process keeps its SHA-256 under the stored hash: never the secret, and worth nothing once
    the hash has changed. The memory is bounded; the oldest entry goes first.
    """

    def __init__(self, size: int = MEMORY_SIZE) -> None:
        self._known: Memory[bytes] = Memory(size)

    def __len__(self) -> int:
        return len(self._known)

    def match(self, secret: str, hashes: list[str]) -> str | None:
        """The hash that the secret matches, or None. A hash with a known secret refuses every other without bcrypt."""
        digest = hashlib.sha256(secret.encode()).digest()
        remembered = {stored: self._known.get(stored) for stored in hashes}  # once: other threads add to it meanwhile
        for stored, known in remembered.items():
            if known is not None and hmac.compare_digest(known, digest):
                return stored
        for stored, known in remembered.items():
            if known is None and bcrypt.checkpw(secret.encode(), stored.encode()):
                self._known.put(stored, digest)
                return stored
        return None


class LastUse:
    """Keeps `last_used_at` and `last_used_ip` right to within a minute, at most one write a key a minute.

    A use that cannot be written (the lock is taken, the disk is full) waits for a later request and fails none.
    """

    def __init__(self, writer: LooseWriter) -> None:
        self._writer = writer
        self._pending: dict[str, dict[str, Any]] = {}
        self._corrected: Memory[float] = Memory(USE_PENDING)  # when a time in the future was, by time.monotonic
        self._busy = threading.Lock()
        self._retry_at = 0.0

    def note(self, row: Row[Any], address: Callable[[], str | None]) -> None:
        """A key was used. `address` is asked only when the use is to be written."""
        if _is_due(row.last_used_at) and len(self._pending) < USE_PENDING and self._may_write(row):
            due = _at(time.time() - USE_INTERVAL)
            self._pending[row.id] = {"key_id": row.id, "due": due, "at": now(), "ip": address()}
        if self._pending:
            self.flush()

    def flush(self) -> None:
        """Tries to write what is pending, without waiting for anyone."""
        if not self._pending or time.monotonic() < self._retry_at or not self._busy.acquire(blocking=False):
            return
        try:
            uses = list(self._pending.items())
            ahead = _at(time.time() + USE_INTERVAL)  # as of now: another process may have written a later use since
            self._writer.execute(_NOTE_USE, [{**use, "ahead": ahead} for _, use in uses])
            for key_id, use in uses:
                if self._pending.get(key_id) is use:
                    del self._pending[key_id]
        except DatabaseUnavailable:
            self._retry_at = time.monotonic() + USE_RETRY
        finally:
            self._busy.release()

    def settle(self) -> None:
        """Writes what is pending, at the end: tries for a moment where another process holds the lock."""
        end = time.monotonic() + USE_AT_END
        while self._pending and time.monotonic() < end:
            self._retry_at = 0.0
            self.flush()
            if self._pending:
                time.sleep(0.02)

    def close(self) -> None:
        self.settle()
        self._writer.close()

    def _may_write(self, row: Row[Any]) -> bool:
        """Two machines whose clocks differ would correct each other at every use: once a minute is enough."""
        if row.last_used_at is None or row.last_used_at < now():
            return True
        before = self._corrected.get(row.id)
        if before is not None and time.monotonic() - before < USE_INTERVAL:
            return False
        self._corrected.put(row.id, time.monotonic())
        return True


class Keys:
    """Mints and checks keys for one service: its prefix, its bcrypt cost, its memory."""

    def __init__(self, storage: Storage, prefix: str, rounds: int) -> None:
        self.prefix = prefix
        self.last_use = LastUse(storage.loose_writer())
        self.verifier = Verifier()
        self._storage = storage
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
        row = self._storage.look_up(_BY_ID, parsed.id)
        if row is None:
            raise AuthenticationFailed("unknown key", key_id=parsed.id)
        matched = self.verifier.match(parsed.secret, valid_hashes(row))
        if matched is None:
            raise AuthenticationFailed("wrong secret", key_id=parsed.id)
        if parsed.prefix != (prefix_of(row, matched) or parsed.prefix):
            raise AuthenticationFailed("wrong prefix", key_id=parsed.id)
        return row, matched


def _is_due(last: str | None) -> bool:
    """A use that was noted too long ago is, and one that was noted in the future, as when the clock stepped back.

    Mostly it is neither, and the texts of a whole second, which are remembered, say so.
    """
    if last is None:
        return True
    moment = time.time()
    since, until = _settled(int(moment))
    return not since <= last <= until and (last < _at(moment - USE_INTERVAL) or last > _at(moment + USE_INTERVAL))


@lru_cache(maxsize=2)
def _settled(second: int) -> tuple[str, str]:
    """A use that was noted between these is not due at any moment of the second."""
    return _at(second + 1 - USE_INTERVAL), _at(second + USE_INTERVAL)


def _at(moment: float) -> str:
    return timestamp(datetime.fromtimestamp(moment, UTC))


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
