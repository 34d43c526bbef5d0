"""Checks at the start, before SQLite reads either, that the WAL beside a database is its own.

SQLite accepts any WAL whose checksums hold. A backup that is copied over a database whose WAL stays silently becomes a
mixture of both. But each change writes page 1 (connection), with the random mark of the database and the number of the
change, and a WAL holds every change since the file beside it was whole. So the number in the file is at least the one
before the first change in its WAL, and at most that of the last. This holds after a crash at any moment.

The formats are those of https://www.sqlite.org/fileformat2.html#walformat and https://www.sqlite.org/walformat.html.
"""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from errors import StartupError
from observability.build import COMMAND
from storage.sqlite.connection import COUNT, HEADER, MAGIC, MAX_COUNT, STAMP
from storage.sqlite.database import is_open_here

SQLITE = b"SQLite format 3\0"
WAL_MODE = slice(18, 20)  # of the header: 2 and 2 if the database uses a WAL
WAL_HEADER, FRAME_HEADER = 32, 24  # bytes
WAL_MAGIC = 0x377F0682  # one more: checksums are over big-endian words
SHARED_LOCK = (510, 0x40000002)  # length and start of the bytes that every reader of a database locks
SHM_LOCK = (1, 128)  # the same in the -shm file

Sums = tuple[int, int]


def require_own_wal(database: Path) -> None:
    """Raises StartupError if the WAL beside the database belongs to another one, or its own WAL is missing.

    It checks only while no process has the database open: a WAL in use was checked before, and is changing.
    """
    real = database.resolve()
    if is_open_here(real):
        return
    wal, index = Path(f"{real}-wal"), Path(f"{real}-shm")
    if _lacks_wal(wal, index):
        raise _refusal(
            database, f"{wal} is gone, and with it the last changes: put it back, or remove {index} to do without"
        )
    with suppress(OSError), real.open("r+b") as file:  # SQLite will report a file that cannot be read
        if lock_alone(file.fileno(), SHARED_LOCK) and wal.is_file():
            with wal.open("rb") as frames:
                if not _belong_together(file.read(HEADER), list(_first_pages(frames))):
                    raise _refusal(database, f"{wal} belongs to another database or another state of this one")


def is_open_elsewhere(database: Path) -> bool:
    """Whether another process has the database, or an earlier one in its place, open. Only while none here has."""
    return not all(_free(path, lock) for path, lock in ((database, SHARED_LOCK), (Path(f"{database}-shm"), SHM_LOCK)))


def lock_alone(descriptor: int, lock: tuple[int, int]) -> bool:
    """Takes SQLite's exclusive lock; returns False if another process has the file open.

    The lock ends when this process closes any descriptor of the file.
    """
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, *lock)
    except OSError:
        return False
    return True


def _free(path: Path, lock: tuple[int, int]) -> bool:
    try:
        with path.open("r+b") as file:
            return lock_alone(file.fileno(), lock)
    except OSError:  # there is no such file
        return True


def _refusal(database: Path, why: str) -> StartupError:
    return StartupError(f"KEYHOOK_DATABASE_URL names {database}, but {why}; `{COMMAND} restore` puts a backup in place")


def _lacks_wal(wal: Path, index: Path) -> bool:
    """Whether an index is there without its WAL. SQLite makes the index after its WAL and removes it before.

    The test runs twice, since another process that closes the database may remove both in between.
    """
    return all(_holds_more(index) and not os.path.lexists(wal) for _ in range(2))


def _holds_more(index: Path) -> bool:
    """Whether an index lists frames that are not in the database yet."""
    try:
        held = index.read_bytes()[:136]
    except OSError:
        return False
    if len(held) < 136 or held[:48] != held[48:96] or not held[12]:  # it is being written, or unused
        return False
    [frames], [copied] = struct.unpack_from("=I", held, 16), struct.unpack_from("=I", held, 96)
    return bool(frames > copied)


def _belong_together(header: bytes, first_pages: list[bytes]) -> bool:
    """Whether a database with this header fits a WAL with these versions of it. A WAL without versions fits any."""
    if not first_pages:
        return True
    if header[MAGIC] != SQLITE or header[WAL_MODE] != b"\2\2":
        return False
    if any(page[STAMP] != header[STAMP] for page in first_pages):
        return False
    before, last = _count(first_pages[0]) - 1, _count(first_pages[-1])
    return (_count(header) - before) & MAX_COUNT <= (last - before) & MAX_COUNT


def _count(header: bytes) -> int:
    return int.from_bytes(header[COUNT])


def _first_pages(wal: BinaryIO) -> Iterator[bytes]:
    """The database header of each complete frame of page 1 since the WAL last started."""
    head = wal.read(WAL_HEADER)
    if len(head) < WAL_HEADER or int.from_bytes(head[:4]) | 1 != WAL_MAGIC | 1:
        return
    order, size, salts = "<>"[head[3] & 1], int.from_bytes(head[8:12]), head[16:24]
    sums = _sums(head[24:])
    if _checksum(order, (0, 0), head[:24]) != sums:
        return
    begun = False  # before the first, each frame must be complete: frames after a torn one do not count
    while len(frame := wal.read(FRAME_HEADER)) == FRAME_HEADER and frame[8:16] == salts:
        page, before, sums = wal.read(size), sums, _sums(frame[16:])
        is_first_page = int.from_bytes(frame[:4]) == 1
        if is_first_page or not begun:
            whole = len(page) == size and _checksum(order, before, frame[:8] + page) == sums
            if not whole and not begun:
                return
            if whole and is_first_page:
                begun = True
                yield page[:HEADER]


def _sums(stored: bytes) -> Sums:
    return struct.unpack(">II", stored)


def _checksum(order: str, sums: Sums, data: bytes) -> Sums:
    one, two = sums
    for first, second in struct.iter_unpack(f"{order}II", data):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two
