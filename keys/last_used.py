"""The uses of keys: the last one of each, right to a minute, and how many there were each day."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import bindparam, or_, update

from errors import DatabaseUnavailable
from formats.times import now, timestamp
from keys.bounded_cache import BoundedCache
from keys.previous_use import PreviousUse
from keys.uses import Tally, Uses, add
from models import CheckedKey, api_keys
from storage.database import BestEffortWriter

USE_INTERVAL = 60  # seconds between two writes of one key's last use
USE_PENDING = 10_000  # keys with a use that is not written yet
USE_RETRY = 0.5  # seconds after a failed write of uses
USE_AT_END = 0.3  # seconds that the last write of uses may take
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


class LastUse:
    """Keeps `last_used_at` and `last_used_ip` right to a minute, with at most one write a key a minute, and counts.

    A use that cannot be written (the lock is taken, the disk is full) waits for a later request and fails none.
    """

    def __init__(self, writer: BestEffortWriter) -> None:
        self._writer = writer
        self._pending: dict[str, dict[str, Any]] = {}
        self._tally = Tally()
        self._previous = PreviousUse()
        # The moments (time.monotonic) at which a time in the future was corrected.
        self._corrected: BoundedCache[float] = BoundedCache(USE_PENDING)
        self._busy = threading.Lock()
        self._retry_at = 0.0

    def note(self, row: CheckedKey, matched_hash: str, address: Callable[[], str | None]) -> None:
        """Notes a use of a key with one of its secrets. `address` is called only if the use will be written."""
        if _is_due(row.last_used_at) and len(self._pending) < USE_PENDING and self._may_write(row):
            due = _at(time.time() - USE_INTERVAL)
            self._pending[row.id] = {"key_id": row.id, "due": due, "at": now(), "ip": address()}
        if matched_hash != row.secret_hash:
            self._previous.note(row.id, matched_hash)
        if self._tally.note(row.id) or self._pending or self._previous.pending:
            self.flush()

    def refuse(self, key_id: str, *, noted: bool = False) -> None:
        """Notes that a key was refused; `noted`: after `note`, since it is good and was not good enough."""
        if self._tally.refuse(key_id, noted=noted):
            self.flush()

    def waiting_uses(self, key_id: str) -> Uses:
        """The uses of a key that are not written yet."""
        with self._busy:
            self._tally.count()
            return self._tally.of(key_id)

    def flush(self) -> None:
        """Tries to write pending uses, without waiting: the last ones at once, the numbers once a minute."""
        waiting = self._pending or self._previous.pending or self._tally.is_waiting()
        if not waiting or not self._busy.acquire(blocking=False):
            return
        try:
            self._tally.count()
            if time.monotonic() >= self._retry_at:
                self._write_last()
                self._previous.write(self._writer)
                self._write_numbers()
        except DatabaseUnavailable:
            self._retry_at = time.monotonic() + USE_RETRY
        finally:
            self._busy.release()

    def _write_last(self) -> None:
        if self._pending:
            uses = list(self._pending.items())
            ahead = _at(time.time() + USE_INTERVAL)  # from now: another process may have written a later use since
            self._writer.execute(_NOTE_USE, [{**use, "ahead": ahead} for _, use in uses])
            for key_id, use in uses:
                if self._pending.get(key_id) is use:
                    del self._pending[key_id]

    def _write_numbers(self) -> None:
        if self._tally.is_due():
            for batch in self._tally.batches():
                self._writer.transact(partial(add, counts=batch))

    def settle(self) -> None:
        """Writes pending uses at the end: retries for a moment if another process holds the lock."""
        end = time.monotonic() + USE_AT_END
        self._tally.hurry()
        while self._is_unsettled() and time.monotonic() < end:
            self._retry_at = 0.0
            self.flush()
            if self._is_unsettled():
                time.sleep(0.02)

    def close(self) -> None:
        self.settle()
        self._writer.close()

    def _is_unsettled(self) -> bool:
        return bool(self._pending or self._previous.pending or self._tally)

    def _may_write(self, row: CheckedKey) -> bool:
        """Whether a use in the future may be corrected: once a minute, or two clocks would correct it at every use."""
        if row.last_used_at is None or row.last_used_at < now():
            return True
        before = self._corrected.get(row.id)
        if before is not None and time.monotonic() - before < USE_INTERVAL:
            return False
        self._corrected.put(row.id, time.monotonic())
        return True


def _is_due(last: str | None) -> bool:
    """Whether the last use is too old, or lies in the future because the clock stepped back.

    Mostly it is neither, and two cached texts, which hold for a whole second, prove it.
    """
    if last is None:
        return True
    moment = time.time()
    since, until = _settled(int(moment))
    return not since <= last <= until and (last < _at(moment - USE_INTERVAL) or last > _at(moment + USE_INTERVAL))


@lru_cache(maxsize=2)
def _settled(second: int) -> tuple[str, str]:
    """A last use between these two is not due at any moment of the second."""
    return _at(second + 1 - USE_INTERVAL), _at(second + USE_INTERVAL)


def _at(moment: float) -> str:
    return timestamp(datetime.fromtimestamp(moment, UTC))
