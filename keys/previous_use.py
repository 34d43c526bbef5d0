"""The last use of a secret in its grace: so whoever rotated a key sees whether something still uses the old one.

It is noted at most once a minute a secret in each process. The check does not read it: few keys are in a grace.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, or_, update

from formats.times import now, timestamp
from keys.bounded_cache import BoundedCache
from models import api_keys
from storage.database import BestEffortWriter

INTERVAL = 60  # seconds between two writes
ROOM = 10_000  # secrets
_NOTE = (
    update(api_keys)
    .where(
        api_keys.c.id == bindparam("key_id"),
        api_keys.c.previous_hash == bindparam("hash"),
        or_(
            api_keys.c.previous_last_used_at.is_(None),
            api_keys.c.previous_last_used_at < bindparam("due"),
            api_keys.c.previous_last_used_at > bindparam("at"),
        ),
    )
    .values(previous_last_used_at=bindparam("at"))
)


class PreviousUse:
    def __init__(self) -> None:
        self.pending: dict[str, dict[str, Any]] = {}  # not written yet, by the stored hash of the secret
        self._noted: BoundedCache[float] = BoundedCache(ROOM)  # moments of time.monotonic

    def note(self, key_id: str, matched_hash: str) -> None:
        noted = self._noted.get(matched_hash)
        if (noted is None or time.monotonic() - noted >= INTERVAL) and len(self.pending) < ROOM:
            self._noted.put(matched_hash, time.monotonic())
            due = timestamp(datetime.now(UTC) - timedelta(seconds=INTERVAL))
            self.pending[matched_hash] = {"key_id": key_id, "hash": matched_hash, "due": due, "at": now()}

    def write(self, writer: BestEffortWriter) -> None:
        """Raises DatabaseUnavailable; what is not written stays for the next time."""
        if waiting := list(self.pending.items()):
            writer.execute(_NOTE, [use for _, use in waiting])
            for matched_hash, _ in waiting:
                del self.pending[matched_hash]
