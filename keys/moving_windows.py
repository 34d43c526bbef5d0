"""A store of the library `limits` in the memory of this process.

Its own one starts a thread every few milliseconds, moves a whole list at every use, and follows the wall clock: set
back by an hour it refuses for an hour. This one takes 8 bytes and a number a use, and time.monotonic.
"""

import threading
import time
from collections import deque

from limits.storage import MovingWindowSupport, Storage

IDLE = 10_000  # allowances after which those that nobody uses any more are looked for


class MovingWindows(Storage, MovingWindowSupport):
    """The moments of the uses of each allowance, the oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self._uses: dict[str, deque[float]] = {}
        self._ends: dict[str, float] = {}  # when nothing of an allowance counts any more
        self._lock = threading.Lock()

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Counts a use; returns False, and counts nothing, if there would be too many."""
        with self._lock:
            now = time.monotonic()
            uses = self._counting(key, now - expiry)
            if len(uses) + amount > limit:
                return False
            uses.extend([now] * amount)
            self._ends[key] = now + expiry
            if len(self._uses) > IDLE:
                self._tidy(now)
            return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """The moment of the oldest use that counts, or now, and the number of them."""
        with self._lock:
            now = time.monotonic()
            uses = self._counting(key, now - expiry)
            return (uses[0] if uses else now), len(uses)

    def _counting(self, key: str, since: float) -> deque[float]:
        uses = self._uses.setdefault(key, deque())
        while uses and uses[0] <= since:
            uses.popleft()
        return uses

    def _tidy(self, now: float) -> None:
        for key in [key for key in self._uses if self._ends.get(key, 0.0) <= now]:
            del self._uses[key]
            self._ends.pop(key, None)

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        return ()

    # What a moving window does not need, and the library asks of every store:

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        raise NotImplementedError

    def get(self, key: str) -> int:
        raise NotImplementedError

    def get_expiry(self, key: str) -> float:
        raise NotImplementedError

    def check(self) -> bool:
        return True

    def reset(self) -> int | None:
        with self._lock:
            number = len(self._uses)
            self._uses.clear()
            self._ends.clear()
            return number

    def clear(self, key: str) -> None:
        with self._lock:
            self._uses.pop(key, None)
