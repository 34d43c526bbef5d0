"""The write lock of the database, held by another process: the service can read, and not write."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.postgresql import DATABASES

SQLITE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
"""
POSTGRESQL = """
import psycopg, sys
connection = psycopg.connect(sys.argv[1])
tables = "api_keys, lineage, audit_entries, service_facts, sessions, uses"
connection.execute(f"LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE")
"""
HOLD = """
print("held", flush=True)
sys.stdin.read()
connection.rollback()
"""


@contextmanager
def write_lock(database: Path) -> Iterator[None]:
    """Holds the lock in a separate process, which ends when its stdin closes.

    `database` is the file in the data directory, also where one in PostgreSQL stands for it.
    """
    url = DATABASES.get(database.parent)
    script, address = (POSTGRESQL, url) if url else (SQLITE, str(database))
    with subprocess.Popen(
        [sys.executable, "-c", script + HOLD, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            holder.stdin.close()
