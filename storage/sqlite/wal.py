"""Whether the WAL beside a database is its own: asked at the start, before SQLite reads either.

SQLite takes every WAL whose checksums hold. A backup that is put over a database whose WAL stays becomes a mixture of
the two, without a word. But each change writes page 1 (connection), on which stand the random stamp of the database and
the number of the change, and a WAL holds every change since the moment when the file beside it was whole. So the number
in the file is at least the one before the first change in its WAL, and at most that of the last. A crash at any moment
leaves it so.

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
from storage.sqlite.connection import COUNT, HEADER, MAGIC, MAX_COUNT, STAMP
from storage.sqlite.database import is_open_here

SQLITE = b"SQLite format 3\0"
WAL_MODE = slice(18, 20)  # of a database's header: 2 and 2 while changes go to a WAL
WAL_HEADER, FRAME_HEADER = 32, 24  # bytes
WAL_MAGIC = 0x377F0682  # one more: checksums are over big-endian words
SHARED_LOCK = (510, 0x40000002)  # length and start of the bytes of a database that every reader locks
SHM_LOCK = (1, 128)  # the same of the -shm file

Sums = tuple[int, int]


def require_own_wal(database: Path) -> None:
    """Raises StartupError when the WAL beside the database belongs to another, or its own was taken away.

    Looks only while no process has the database open: a WAL in use was looked at before, and changes meanwhile.
    """
    real = database.resolve()
    if is_open_here(real):
        return
    wal, index = Path(f"{real}-wal"), Path(f"{real}-shm")
    if _lacks_wal(wal, index):
        raise _refusal(
            database, f"{wal} is gone, and with it the last changes: put it back, or remove {index} to do without"
        )
    with suppress(OSError), real.open("r+b") as file:  # what cannot be read is for SQLite to say
        if lock_alone(file.fileno(), SHARED_LOCK) and wal.is_file():
            with wal.open("rb") as frames:
                if not _belong_together(file.read(HEADER), list(_first_pages(frames))):
                    raise _refusal(database, f"{wal} belongs to another database or another state of this one")


def is_open_elsewhere(database: Path) -> bool:
    """Whether another process has the database open, or one that was at its place. Only while none here has."""
    return not all(_free(path, lock) for path, lock in ((database, SHARED_LOCK), (Path(f"{database}-shm"), SHM_LOCK)))


def lock_alone(descriptor: int, lock: tuple[int, int]) -> bool:
    """Takes SQLite's own lock for one that is alone; False when another process has the file open.

    It ends when this process closes the file, by whichever descriptor.
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
    except OSError:  # there is none
        return True


def _refusal(database: Path, why: str) -> StartupError:
    return StartupError(f"KEYHOOK_DATABASE_URL names {database}, but {why}; `flask restore` puts a backup in place")


def _lacks_wal(wal: Path, index: Path) -> bool:
    """SQLite makes the index after its WAL and removes it before, so an index is never alone.

    Asked twice, since both may go in between, in that order, when another process closes the database.
    """
    return all(_holds_more(index) and not os.path.lexists(wal) for _ in range(2))


def _holds_more(index: Path) -> bool:
    """Whether an index knows of frames that are not in the database yet."""
    try:
        held = index.read_bytes()[:136]
    except OSError:
        return False
    if len(held) < 136 or held[:48] != held[48:96] or not held[12]:  # being written, or never begun
        return False
    [frames], [copied] = struct.unpack_from("=I", held, 16), struct.unpack_from("=I", held, 96)
    return bool(frames > copied)


def _belong_together(header: bytes, first_pages: list[bytes]) -> bool:
    """Whether a database with this header may have a WAL with these versions of it. One without any says nothing."""
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
    """The header of the database in each frame of page 1 that was written whole since the WAL began anew."""
    head = wal.read(WAL_HEADER)
    if len(head) < WAL_HEADER or int.from_bytes(head[:4]) | 1 != WAL_MAGIC | 1:
        return
    order, size, salts = "<>"[head[3] & 1], int.from_bytes(head[8:12]), head[16:24]
    sums = _sums(head[24:])
    if _checksum(order, (0, 0), head[:24]) != sums:
        return
    begun = False  # up to the first, every frame has to be whole: what comes after a torn one is no part of the WAL
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
