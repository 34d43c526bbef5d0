"""All statements that reach the database, with their values, and the plans of them.

They are recorded where nothing of the service can pass by: by SQLite itself, or in the log of PostgreSQL.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import Engine, event, text

from tests.postgresql import Cluster
from tests.rows import transaction, url_of

Statements = Callable[[], list[str]]  # those since the last call

# An entry of the log: a line that begins with the database, and, indented, the further lines of the text.
ENTRY = r"^{database} LOG:  (?:statement|execute \S+): (.*\n(?:\t.*\n)*)({database} DETAIL:  .*\n(?:\t.*\n)*)?"
PREFIX = "%d "  # log_line_prefix: the database
VALUE = r"\$(\d+) = ('(?:[^']|'')*'|NULL)"
PLACE = r'\$(\d+)(?:::[A-Z]+(?:\(\d+\))?)?(?: COLLATE "C")?'  # of a value, with its type


@contextmanager
def traced() -> Iterator[Statements]:
    """Those of all applications in this process that start later, on SQLite."""
    seen: list[str] = []

    def trace(connection: sqlite3.Connection, _record: Any) -> None:
        connection.set_trace_callback(lambda statement: seen.append(" ".join(statement.split())))

    def drain() -> list[str]:
        drained = seen.copy()
        seen.clear()
        return drained

    event.listen(Engine, "connect", trace)
    yield drain
    event.remove(Engine, "connect", trace)


def logged(server: Cluster, database: str) -> Statements:
    """Those of all sessions in the database that start later, of whichever process."""
    server.sql(f"ALTER DATABASE {database} SET log_statement = 'all'")
    log, entry = server.directory / "log", re.compile(ENTRY.format(database=database), re.MULTILINE)
    read = log.stat().st_size

    def drain() -> list[str]:
        nonlocal read
        added = log.read_bytes()[read:]
        read += len(added)
        return [_with_values(statement, values) for statement, values in entry.findall(added.decode())]

    return drain


def _with_values(statement: str, detail: str) -> str:
    values = dict(re.findall(VALUE, detail))
    return " ".join(re.sub(PLACE, lambda place: values.get(place[1], place[0]), statement).split())


def plan(place: Flask | Path, statement: str) -> list[str]:
    """The steps of a statement: on PostgreSQL, which reads small tables whole, those by the indexes that serve it."""
    with transaction(place) as connection:
        if not url_of(place):
            return [step for *_, step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")]
        for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin"):
            connection.execute(text(f"SET LOCAL enable_{way} = off"))
        return [line.strip() for (line,) in connection.exec_driver_sql(f"EXPLAIN {statement}".replace("%", "%%"))]
