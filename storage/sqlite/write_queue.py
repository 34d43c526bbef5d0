"""A FIFO queue of this process's writers. It bounds how many wait, so that checks always find a free thread."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from errors import DatabaseUnavailable

BUSY_TIMEOUT = 5.0  # seconds that a write waits for its turn and the lock together
STALLED = 0.5  # seconds that a turn may wait for SQLite's lock before only WAITING writers may stay
SLOW_DISK = 2.0  # seconds that a turn may then take to write before the queue counts as stalled
WAITING = 4  # writers, of the 8 threads of the recommended server: the others go on answering checks


class WriteQueue:
    """Lets writers in one at a time, and bounds how many wait in a stalled queue.

    SQLite has one write lock for all processes. A moving queue may be long. In a stalled one, mostly because another
    process holds the lock, only WAITING writers stay and the others are refused at once, or they would fill every
    thread of the server and starve the checks.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()  # held briefly, for the other attributes
        self._busy = False
        self._waiters: deque[threading.Lock] = deque()  # a held lock each, in order; released for the turn
        self._stalls_at = 0.0  # time.monotonic
        self._failing = False
        self._ends_at = math.inf  # time.monotonic, once the service ends
        self.watch: Callable[[int], None] = lambda length: None  # is told the length, the one at work included

    def hurry(self, seconds: float) -> None:
        """From now on no writer waits longer than that, for its turn and the lock together."""
        self._ends_at = time.monotonic() + seconds

    def is_over(self, deadline: float) -> bool:
        """Whether a writer with this deadline must stop waiting."""
        return time.monotonic() > min(deadline, self._ends_at)

    @contextmanager
    def turn(self) -> Iterator[float]:
        """Yields the moment (time.monotonic) until which to wait for SQLite's own lock. Raises DatabaseUnavailable."""
        deadline, failing = time.monotonic() + BUSY_TIMEOUT, False
        self._acquire(deadline)
        try:
            yield deadline
        except DatabaseUnavailable:
            failing = True
            raise
        finally:
            self._release_next(failing)

    def lock_acquired(self) -> None:
        """The writer whose turn it is has SQLite's lock too: from now on only the disk can be slow."""
        self._failing, self._stalls_at = False, time.monotonic() + SLOW_DISK

    def _acquire(self, deadline: float) -> None:
        with self._guard:
            if not self._busy:  # the queue is empty: earlier failures do not count for this turn
                self._busy, self._failing, self._stalls_at = True, False, time.monotonic() + STALLED
                return self._tell()
            mine = threading.Lock()
            mine.acquire()
            self._waiters.append(mine)
            self._tell()
        try:
            while not mine.acquire(timeout=0.02):
                self._check_deadline(mine, deadline)
        except BaseException:
            with self._guard:
                waiting = mine in self._waiters
                if waiting:
                    self._waiters.remove(mine)
                    self._tell()
            if not waiting:  # the turn has just come
                self._release_next(self._failing)
            raise

    def _check_deadline(self, mine: threading.Lock, deadline: float) -> None:
        moment = time.monotonic()
        with self._guard:
            ahead = self._waiters.index(mine) if mine in self._waiters else 0  # without the writer whose turn it is
            stalled = self._failing or moment > self._stalls_at
        if self.is_over(deadline):
            raise DatabaseUnavailable("the write lock did not come in time")
        if stalled and ahead >= WAITING - 1:
            raise DatabaseUnavailable("too many writers are waiting for the lock")

    def _release_next(self, failing: bool) -> None:
        with self._guard:
            self._failing, self._stalls_at = failing, time.monotonic() + STALLED
            if self._waiters:
                self._waiters.popleft().release()
            else:
                self._busy = False
            self._tell()

    def _tell(self) -> None:
        self.watch(len(self._waiters) + self._busy)
