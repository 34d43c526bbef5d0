"""The database file and the two beside it (WAL and its index): still those of the start?"""

import os
import time
from pathlib import Path

from errors import DatabaseUnavailable
from storage.sqlite.connection import HEADER, MAGIC, STAMP

SETTLED = 3_000_000_000  # nanoseconds after which no change has the same time; file systems count in up to 2 s


class WatchedFile:
    """Compares the files behind the paths with those of the start, before every use of the database.

    It uses `stat`, since opening and closing the file would drop SQLite's locks. If the file was modified, it reads the
    header through a descriptor that stays open: a file that was overwritten in place is not ours either, and the pages
    of the old one in the caches of connections cannot be trusted.
    """

    def __init__(self, path: Path) -> None:
        """Call it while a connection is open: then SQLite never removes the files, so their identity is fixed."""
        real = path.resolve()  # SQLite puts the WAL beside the target of a link
        self._real = str(real)
        self._directory, self._file, self._beside = str(real.parent), str(path), (f"{real}-wal", f"{real}-shm")
        self._process = os.getpid()
        self._identity = self._look()
        self._settled = -1  # the directory's time of change when WAL and index were last found in place
        # Never closed while a connection is open: closing any descriptor of the file drops SQLite's POSIX locks.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._marks = self._read_marks()
        self._modified = 0
        self._overwritten = False
        self.check()

    def close(self) -> None:
        os.close(self._descriptor)

    def is_at(self, path: Path) -> bool:
        """Whether the path leads to this file."""
        try:
            found = os.stat(path)
        except OSError:
            return str(path.resolve()) == self._real
        return str(path.resolve()) == self._real or (found.st_dev, found.st_ino) == self._identity[:2]

    def check(self) -> None:
        """Raises DatabaseUnavailable if the path no longer leads to the file of the start, and in a forked process:
        SQLite's locks are not inherited, and writes without them are lost.

        WAL and index are looked at only after a change of the directory.
        """
        if os.getpid() != self._process:
            raise DatabaseUnavailable("the database was opened before a fork; load the application in each worker")
        try:
            main, directory = os.stat(self._file), os.stat(self._directory)
            is_ours = (main.st_dev, main.st_ino) == self._identity[:2]
            if is_ours and directory.st_mtime_ns != self._settled:
                is_ours = self._is_in_place()
        except OSError as error:
            raise DatabaseUnavailable(f"the database file is gone: {error.strerror}") from None
        if not is_ours:
            raise DatabaseUnavailable("the database file was replaced")
        if main.st_mtime_ns != self._modified:
            self._overwritten |= self._read_marks() != self._marks
            self._modified = main.st_mtime_ns
        if self._overwritten:
            raise DatabaseUnavailable("the database file was overwritten; restore it and start again")

    def check_writable(self) -> None:
        """Raises DatabaseUnavailable if the file is read-only, even if an open connection could still write."""
        self.check()
        for place in (self._directory, self._file):
            if not os.access(place, os.W_OK):
                raise DatabaseUnavailable(f"{place} is read-only")

    def _is_in_place(self) -> bool:
        """Looks at all three files, and notes the directory's time of change if no later change can have the same."""
        now, directory = time.time_ns(), os.stat(self._directory)
        if self._look() != self._identity:
            return False
        if directory.st_mtime_ns < now - SETTLED:
            self._settled = directory.st_mtime_ns
        return True

    def _look(self) -> tuple[int, ...]:
        main, wal, index = os.stat(self._file), os.stat(self._beside[0]), os.stat(self._beside[1])
        return main.st_dev, main.st_ino, wal.st_dev, wal.st_ino, index.st_dev, index.st_ino

    def _read_marks(self) -> tuple[bytes, bytes]:
        header = os.pread(self._descriptor, HEADER, 0)
        return header[MAGIC], header[STAMP]
