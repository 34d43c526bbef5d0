"""Directories and files that survive a power cut, and a lock on directories between processes."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


def make_directory(path: Path) -> None:
    """Makes a directory for its owner alone. An existing one keeps its mode. Raises OSError."""
    for directory in reversed([place for place in (path, *path.parents) if not place.is_dir()]):
        directory.mkdir(mode=0o700, exist_ok=True)
        sync_directory(directory.parent)


def create_file(path: Path) -> int:
    """The descriptor of a new file for its owner alone. Raises OSError, also for an existing file."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)


def sync_file(path: Path) -> None:
    """Makes the content of a file survive a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Makes a rename or a new file inside survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path, *suffixes: str) -> None:
    """Removes the existing files whose names are the path and a suffix."""
    for suffix in suffixes:
        Path(f"{path}{suffix}").unlink(missing_ok=True)


@contextmanager
def alone_in(*directories: Path) -> Iterator[None]:
    """Locks the directories: another process that asks for one of them waits until the end. Raises OSError."""
    with ExitStack() as stack:
        for directory in sorted({path.resolve() for path in directories}):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
