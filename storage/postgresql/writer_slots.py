"""How many writers of this process may be at work, so that those that wait for a lock leave threads for checks."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from errors import DatabaseUnavailable

WRITERS = 4  # of the 8 threads of the recommended server
STALLED = 0.5  # seconds without a lock that was taken or a change that was made: then nobody waits for a slot any more
SLOW = 2.0  # seconds that a writer may take once it has its lock, before that counts as a standstill


class WriterSlots:
    """Lets WRITERS in. Others wait only while changes are being made: of a standstill they learn at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = 0
        self._waiting = 0
        self.watch: Callable[[int], None] = lambda number: None  # is told how many are in or wait
        self._stalls_at = 0.0  # time.monotonic

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Raises DatabaseUnavailable when there is none and nothing moves."""
        self._take()
        moves = False
        try:
            yield
            moves = True
        except DatabaseUnavailable:
            raise
        except BaseException:  # a refusal of ours: the database answered
            moves = True
            raise
        finally:
            self._give_back(moves=moves)

    def lock_acquired(self) -> None:
        """A writer has the lock of its tenant: from now on only the disk, or a standby, can be slow."""
        with self._changed:
            self._stalls_at = time.monotonic() + SLOW

    def _take(self) -> None:
        with self._changed:
            self._wait()
            self._taken += 1
            self._tell()
            if self._taken == WRITERS:
                self._stalls_at = max(self._stalls_at, time.monotonic() + STALLED)

    def _wait(self) -> None:
        """Waits for a slot, with the lock."""
        self._waiting += 1
        try:
            while self._taken == WRITERS:
                self._tell()
                patience = self._stalls_at - time.monotonic()
                if patience <= 0:
                    raise DatabaseUnavailable("too many writers are waiting for a lock")
                self._changed.wait(patience)
        finally:
            self._waiting -= 1
            self._tell()

    def _tell(self) -> None:
        self.watch(self._taken + self._waiting)

    def _give_back(self, *, moves: bool) -> None:
        with self._changed:
            self._taken -= 1
            self._tell()
            if moves:
                self._stalls_at = time.monotonic() + STALLED
            self._changed.notify()
