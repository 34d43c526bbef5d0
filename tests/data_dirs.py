"""The content of a data directory, and changes of it while no server runs."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.machine import missing


def files(directory: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in directory.rglob("*")}


def sqlite_file(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def newer_schema(data: Path) -> None:
    sqlite_file(data / "keyhook.db", "UPDATE alembic_version SET version_num = '9999'")


def another_program(data: Path) -> None:
    (data / "keyhook.db").unlink()
    sqlite_file(data / "keyhook.db", "CREATE TABLE notes (text TEXT)", "INSERT INTO notes VALUES ('mine')")


def directory_in_its_place(data: Path) -> None:
    (data / "keyhook.db").unlink()
    (data / "keyhook.db").mkdir()


@contextmanager
def read_only(directory: Path) -> Iterator[list[str]]:
    """Makes a directory and its files read-only; yields the prefix of a command that obeys it, as root does not."""
    modes = {path: path.stat().st_mode for path in [*directory.iterdir(), directory]}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        if os.geteuid() != 0:
            yield []
        elif shutil.which("setpriv"):
            yield ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        else:
            missing("setpriv", "apt install util-linux, or run as another user than root")
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
