"""The base of the ratios: an application on the same framework, server and database, and nothing else."""

import os
import signal
import sqlite3
import sys
import threading
import uuid
from pathlib import Path

import bcrypt
from flask import Flask, request

from serving.server import Server

ROWS = 1000
BCRYPT_ROUNDS = 4

_local = threading.local()
_writing = threading.Lock()  # the service has one too: without it, writers sleep in SQLite's busy handler


def create_app(path: Path | None = None) -> Flask:
    """The bare application, by default on the database that BENCH_DATABASE names."""
    database = str(path or os.environ["BENCH_DATABASE"])
    wanted = make_database(database)
    app = Flask(__name__, static_folder=None)

    def connection() -> sqlite3.Connection:
        if not hasattr(_local, "connection"):
            _local.connection = connect(database)
        return _local.connection  # type: ignore[no-any-return]

    def insert(secret_hash: str) -> tuple[dict[str, str], int]:
        row = {"id": str(uuid.uuid4()), "name": request.json["name"], "secret_hash": secret_hash}
        with _writing:
            connection().execute("INSERT INTO items VALUES (:id, :name, :secret_hash)", row)
        return {"id": row["id"], "name": row["name"]}, 201

    @app.get("/constant")
    def constant() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/row")
    def row() -> dict[str, str]:
        found = connection().execute("SELECT id, name FROM items WHERE id = ?", (wanted,)).fetchone()
        return {"id": found[0], "name": found[1]}

    @app.post("/insert")
    def insert_one() -> tuple[dict[str, str], int]:
        return insert("$2b$04$" + "x" * 53)

    @app.post("/hash-and-insert")
    def hash_and_insert() -> tuple[dict[str, str], int]:
        return insert(bcrypt.hashpw(os.urandom(32).hex().encode(), bcrypt.gensalt(BCRYPT_ROUNDS)).decode())

    return app


def connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def make_database(path: str) -> str:
    """Makes the table and its rows, and returns the id of one."""
    connection = connect(path)
    connection.execute("CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, secret_hash TEXT NOT NULL)")
    rows = [(str(uuid.uuid4()), f"row-{number}", "$2b$04$" + "x" * 53) for number in range(ROWS)]
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO items VALUES (?, ?, ?)", rows)
    connection.execute("COMMIT")
    return rows[ROWS // 2][0]


if __name__ == "__main__":
    server = Server(create_app(), "127.0.0.1", int(sys.argv[1]), largest_body=65_536)
    signal.signal(signal.SIGTERM, lambda number, frame: server.stop())
    server.run()
