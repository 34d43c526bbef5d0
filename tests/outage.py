"""A database that cannot be reached: its file is elsewhere, or its server lets nobody in."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from flask import Flask

from tests.rows import directory_of, url_of


def take_away(place: Flask | Path) -> None:
    if url_of(place):
        _ask_beside(place, "ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        _ask_beside(place, "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE datname = '{name}'")
    else:
        _file(place).rename(_aside(place))


@contextmanager
def away(place: Flask | Path) -> Iterator[None]:
    take_away(place)
    try:
        yield
    finally:
        bring_back(place)


def bring_back(place: Flask | Path) -> None:
    if url_of(place):
        _ask_beside(place, "ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    else:
        _aside(place).rename(_file(place))


def _ask_beside(place: Flask | Path, statement: str) -> None:
    """Runs a statement about the database in another one of its server."""
    server, _, name = (url_of(place) or "").rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(statement.format(name=name).encode())


def _file(place: Flask | Path) -> Path:
    return directory_of(place) / "keyhook.db"


def _aside(place: Flask | Path) -> Path:
    return directory_of(place) / "aside.db"
