"""Secrets and their hashes: the only place that makes and compares secrets."""

import hashlib
import hmac
from typing import NamedTuple

import bcrypt

from formats import api_key
from keys.bounded_cache import BoundedCache

MEMORY_SIZE = 16_384  # verified secrets in the cache of a process: about 4 MB
HINT = 4  # characters at the end of a key that help people to recognise it


class NewSecret(NamedTuple):
    """A new secret. `hash` is stored; the rest goes to the holder, once, as the text of the key."""

    prefix: str
    secret: str
    hash: str

    def text(self, key_id: str) -> str:
        return api_key.write_key(self.prefix, key_id, self.secret)

    def kept(self, key_id: str) -> dict[str, str]:
        """The columns of the key's row for this secret."""
        return {"secret_hash": self.hash, "prefix": self.prefix, "hint": self.text(key_id)[-HINT:]}


def new_secret(prefix: str, rounds: int) -> NewSecret:
    """It takes one bcrypt: about 1 ms at the lowest cost."""
    secret = api_key.new_secret()
    return NewSecret(prefix, secret, bcrypt.hashpw(secret.encode(), bcrypt.gensalt(rounds)).decode())


class SecretHasher:
    """Compares secrets with stored hashes, and caches matches.

    bcrypt at its lowest cost takes about 1 ms. A secret is 256 random bits, which a work factor cannot protect better.
    So after one success the process keeps the SHA-256 of the secret under the stored hash: never the secret itself, and
    worthless once the hash has changed.
    """

    def __init__(self, size: int = MEMORY_SIZE) -> None:
        self._known: BoundedCache[bytes] = BoundedCache(size)

    def __len__(self) -> int:
        return len(self._known)

    def matching_hash(self, secret: str, hashes: list[str]) -> str | None:
        """The hash that the secret matches, or None. A hash with a known secret refuses every other without bcrypt."""
        digest = hashlib.sha256(secret.encode()).digest()
        remembered = {stored: self._known.get(stored) for stored in hashes}  # read once: other threads add to it
        for stored, known in remembered.items():
            if known is not None and hmac.compare_digest(known, digest):
                return stored
        for stored, known in remembered.items():
            if known is None and bcrypt.checkpw(secret.encode(), stored.encode()):
                self._known.put(stored, digest)
                return stored
        return None
