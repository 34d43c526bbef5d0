"""Numbers that the processes of one service on one machine count together, in memory that they share.

Each process maps a file of its own and is the only one that writes to it; whoever asks reads them all. So counting
takes no system call, a process that dies loses nothing, and the next one goes on counting in the file of a dead one: a
sum never goes back. Where no file can be had, the memory is the process's own.
"""

import fcntl
import json
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

LAYOUT = "1"  # another one for any change in the form of the records or in the meaning of their numbers
KEY, NUMBERS = 128, 16  # bytes of a record's key; numbers after it, of eight bytes each
RECORD = KEY + NUMBERS * 8
RECORDS = 512
SIZE = RECORD * RECORDS
PROCESSES = 1000

Key = tuple[str, ...]
Cell: TypeAlias = "memoryview[float]"  # NUMBERS of them


class Read(NamedTuple):
    """The numbers of a process, and whether it is alive. One that is dead still counts, but is in no state any more."""

    number: int
    alive: bool
    cells: dict[Key, list[float]]


class Cells:
    """The numbers of this process by their keys, and those of the others. Callers see to it that one thread writes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._number, self._memory = _own_memory(directory)
        self._known: dict[Key, Cell] = {key: self._view(at) for at, key in _keys(self._memory)}

    def cell(self, key: Key) -> "Cell | None":
        """The numbers under a key, zeros at first. None: the key is too long, or there are too many."""
        if key not in self._known:
            text = json.dumps(key).encode()
            at = len(self._known) * RECORD
            if len(text) > KEY or at >= SIZE:
                return None
            self._memory[at + KEY : at + RECORD] = bytes(RECORD - KEY)
            self._memory[at : at + KEY] = text.ljust(KEY, b"\0")
            self._known[key] = self._view(at)
        return self._known[key]

    def read(self) -> list[Read]:
        """The numbers of every process, this one first."""
        return [Read(self._number, True, {key: [*cell] for key, cell in list(self._known.items())}), *self._others()]

    def _view(self, at: int) -> Cell:
        return memoryview(self._memory)[at + KEY : at + RECORD].cast("d")

    def _others(self) -> Iterator[Read]:
        for path in sorted(self._directory.glob(f"[0-9]*.{LAYOUT}")):
            if path.stem.isdecimal() and int(path.stem) != self._number:
                with suppress(OSError), _opened(path, os.O_RDONLY) as fd:
                    memory = os.pread(fd, SIZE, 0)
                    cells = {key: [*_numbers(memory, at)] for at, key in _keys(memory)}
                    yield Read(int(path.stem), not _lock(fd, fcntl.LOCK_SH), cells)


def _own_memory(directory: Path) -> tuple[int, mmap.mmap]:
    """The first file that no living process has; the lock on it goes with the process. -1: memory without a file."""
    with suppress(OSError):
        directory.mkdir(mode=0o700, exist_ok=True)
        for number in range(PROCESSES):
            with _opened(directory / f"{number}.{LAYOUT}", os.O_RDWR | os.O_CREAT) as fd:
                if _lock(fd, fcntl.LOCK_EX):
                    _fill(fd)
                    return number, mmap.mmap(fd, SIZE)  # which keeps the file open, and so the lock
    return -1, mmap.mmap(-1, SIZE)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _lock(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _fill(fd: int) -> None:
    """Makes the file as long as it is mapped, or raises OSError: a hole in it would end the process on a full disk."""
    there = os.fstat(fd).st_size
    if there < SIZE and os.pwrite(fd, bytes(SIZE - there), there) < SIZE - there:
        raise OSError


def _keys(memory: mmap.mmap | bytes) -> Iterator[tuple[int, Key]]:
    """The place of each record, and its key, up to the first one that is not, or not yet, written whole."""
    with suppress(ValueError, TypeError):
        for at in range(0, len(memory) // RECORD * RECORD, RECORD):
            yield at, tuple(json.loads(memory[at : at + KEY].rstrip(b"\0")))


def _numbers(memory: bytes, at: int) -> Cell:
    return memoryview(memory)[at + KEY : at + RECORD].cast("d")
