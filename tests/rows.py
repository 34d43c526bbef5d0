"""The database without the service, whichever it is: rows that a test reads or moves, and all that is stored."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from flask import Flask
from sqlalchemy import Connection, create_engine, inspect, select, text, update

from formats.times import timestamp
from models import api_keys
from tests.postgresql import DATABASES, programs

PATIENCE = 20  # seconds for a lock that the service holds


@contextmanager
def transaction(place: Flask | Path) -> Iterator[Connection]:
    """A transaction on the database of an application or of a data directory, over a connection of its own."""
    url = url_of(place)
    if url:
        engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    else:
        database = place.extensions["keyhook"].settings.database if isinstance(place, Flask) else place / "keyhook.db"
        engine = create_engine(f"sqlite:///{database}", connect_args={"timeout": PATIENCE})
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def url_of(place: Flask | Path) -> str | None:
    """Of the database in PostgreSQL; None: it is a file of SQLite."""
    return DATABASES.get(directory_of(place))


def directory_of(place: Flask | Path) -> Path:
    return Path(place.extensions["keyhook"].settings.data_dir) if isinstance(place, Flask) else place


def move(place: Flask | Path, name: str, **values: Any) -> None:
    """Changes the dates of a row: so time passes in a test."""
    with transaction(place) as connection:
        changed = connection.execute(update(api_keys).where(api_keys.c.name == name).values(values))
    assert changed.rowcount == 1


def ago(**span: float) -> str:
    return timestamp(datetime.now(UTC) - timedelta(**span))


def last_use(place: Flask | Path, name: str = "laptop") -> tuple[str | None, str | None]:
    """The time and the address in the row."""
    with transaction(place) as connection:
        chosen = select(api_keys.c.last_used_at, api_keys.c.last_used_ip).where(api_keys.c.name == name)
        at, address = connection.execute(chosen).one()
    return at, address


def sql(place: Flask | Path, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    """Runs a statement and returns its rows."""
    with transaction(place) as connection:
        result = connection.execute(text(statement), values)
        return [tuple(row) for row in result] if result.returns_rows else []


def everything(place: Flask | Path) -> dict[str, list[str]]:
    """All rows of all tables, with all their columns."""
    with transaction(place) as connection:
        return {
            table: sorted(map(repr, connection.execute(text(f'SELECT * FROM "{table}"'))))  # noqa: S608
            for table in inspect(connection).get_table_names()
        }


def stored(place: Flask | Path) -> bytes:
    """All bytes of the database: of its files, or of a dump of it."""
    if url := url_of(place):
        return subprocess.run([programs() / "pg_dump", "-d", url], check=True, capture_output=True).stdout
    return b"".join(file.read_bytes() for file in directory_of(place).rglob("*") if file.is_file())


def links(place: Flask | Path) -> int:
    """The number of keys whose parent the lineage still knows."""
    return int(sql(place, "SELECT count(*) FROM lineage")[0][0])


def names(call: Callable[..., Any]) -> str:
    return " ".join(key["name"] for key in call("GET", "/v0/api_keys").json)
