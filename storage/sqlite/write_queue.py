"""Who of this process writes next: in order, one at a time, and never so many waiting that checks find no thread."""

import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from errors import DatabaseUnavailable

BUSY_TIMEOUT = 5.0  # seconds that a write waits for its turn and the lock, together
STALLED = 0.5  # seconds that a turn may wait for SQLite's lock before only WAITING writers may stay
SLOW_DISK = 2.0  # seconds that it may then take to write, which is no reason yet to refuse anybody
WAITING = 4  # of the 8 threads of the recommended server, so that the others go on answering checks


class WriteQueue:
    """Lets writers in one at a time, and bounds how many wait when nothing moves.

    SQLite has one write lock for all processes. A queue that moves may be long; of one that stands still (mostly since
    another process holds the lock) only WAITING writers stay and the rest are refused at once, or they would fill every
    thread of the server and starve the checks.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()  # held for a moment, to look at the rest
        self._busy = False
        self._line: deque[threading.Lock] = deque()  # one for each who waits, in order; let go when it is their turn
        self._stalls_at = 0.0  # time.monotonic
        self._failing = False
        self._ends_at = math.inf  # time.monotonic, once the service ends

    def hurry(self, seconds: float) -> None:
        """From now on nobody waits longer than that, for the turn and the lock together."""
        self._ends_at = time.monotonic() + seconds

    def is_over(self, deadline: float) -> bool:
        """Whether whoever waits until the deadline has waited long enough."""
        return time.monotonic() > min(deadline, self._ends_at)

    @contextmanager
    def turn(self) -> Iterator[float]:
        """Yields the moment (time.monotonic) until which to wait for SQLite's own lock. Raises DatabaseUnavailable."""
        deadline, failing = time.monotonic() + BUSY_TIMEOUT, False
        self._take(deadline)
        try:
            yield deadline
        except DatabaseUnavailable:
            failing = True
            raise
        finally:
            self._pass_on(failing)

    def has_lock(self) -> None:
        """Whoever has the turn has SQLite's lock as well: from now on only the disk can be slow."""
        self._failing, self._stalls_at = False, time.monotonic() + SLOW_DISK

    def _take(self, deadline: float) -> None:
        with self._guard:
            if not self._busy:  # so there is no line: what went wrong before says nothing of this turn
                self._busy, self._failing, self._stalls_at = True, False, time.monotonic() + STALLED
                return
            mine = threading.Lock()
            mine.acquire()
            self._line.append(mine)
        try:
            while not mine.acquire(timeout=0.02):
                self._require_hope(mine, deadline)
        except BaseException:
            with self._guard:
                waiting = mine in self._line
                if waiting:
                    self._line.remove(mine)
            if not waiting:  # the turn has just come
                self._pass_on(self._failing)
            raise

    def _require_hope(self, mine: threading.Lock, deadline: float) -> None:
        moment = time.monotonic()
        with self._guard:
            ahead = self._line.index(mine) if mine in self._line else 0  # besides the one whose turn it is
            stalled = self._failing or moment > self._stalls_at
        if self.is_over(deadline):
            raise DatabaseUnavailable("the write lock did not come in time")
        if stalled and ahead >= WAITING - 1:
            raise DatabaseUnavailable("too many writers are waiting for the lock")

    def _pass_on(self, failing: bool) -> None:
        with self._guard:
            self._failing, self._stalls_at = failing, time.monotonic() + STALLED
            if self._line:
                self._line.popleft().release()
            else:
                self._busy = False
