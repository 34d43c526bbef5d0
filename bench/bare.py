"""The base of the ratios: an application on the same framework, server and database, and nothing else."""

import os
import signal
import sqlite3
import sys
import threading
import uuid
from pathlib import Path
from typing import NamedTuple, Protocol

import bcrypt
from flask import Flask, request

from serving.server import Server

CONSTANT, ROW = "bare: constant JSON", "bare: one row by primary key"
INSERT, HASH_INSERT = "bare: insert and commit", "bare: bcrypt, insert and commit"
ROWS = 1000
BCRYPT_ROUNDS = 4


class Item(NamedTuple):
    id: str
    name: str
    secret_hash: str


class Items(Protocol):
    """A table of ROWS items, and the id of one of them."""

    wanted: str

    def read(self, item_id: str) -> tuple[str, str]:
        """The id and the name, read now."""

    def insert(self, item: Item) -> None:
        """Inserts and commits."""


def create_app(items: Items) -> Flask:
    app = Flask(__name__, static_folder=None)

    def insert(secret_hash: str) -> tuple[dict[str, str], int]:
        item = Item(str(uuid.uuid4()), request.json["name"], secret_hash)
        items.insert(item)
        return {"id": item.id, "name": item.name}, 201

    @app.get("/constant")
    def constant() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/row")
    def row() -> dict[str, str]:
        found = items.read(items.wanted)
        return {"id": found[0], "name": found[1]}

    @app.post("/insert")
    def insert_one() -> tuple[dict[str, str], int]:
        return insert("$2b$04$" + "x" * 53)

    @app.post("/hash-and-insert")
    def hash_and_insert() -> tuple[dict[str, str], int]:
        return insert(bcrypt.hashpw(os.urandom(32).hex().encode(), bcrypt.gensalt(BCRYPT_ROUNDS)).decode())

    return app


def some_items() -> list[Item]:
    return [Item(str(uuid.uuid4()), f"row-{number}", "$2b$04$" + "x" * 53) for number in range(ROWS)]


def serve(items: Items, port: int) -> None:
    server = Server(create_app(items), "127.0.0.1", port, largest_body=65_536)
    signal.signal(signal.SIGTERM, lambda number, frame: server.stop())
    server.run()


class SqliteItems:
    """A connection for each thread."""

    def __init__(self, path: Path | str) -> None:
        self._path = str(path)
        self._local = threading.local()
        self._writing = threading.Lock()  # the service has one too: without it, writers sleep in SQLite's busy handler
        connection, items = self._connection(), some_items()
        connection.execute(
            "CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, secret_hash TEXT NOT NULL)"
        )
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO items VALUES (?, ?, ?)", items)
        connection.execute("COMMIT")
        self.wanted = items[ROWS // 2].id

    def read(self, item_id: str) -> tuple[str, str]:
        found: tuple[str, str] = (
            self._connection().execute("SELECT id, name FROM items WHERE id = ?", (item_id,)).fetchone()
        )
        return found

    def insert(self, item: Item) -> None:
        with self._writing:
            self._connection().execute("INSERT INTO items VALUES (?, ?, ?)", item)

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            connection = self._local.connection = sqlite3.connect(self._path, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        return self._local.connection  # type: ignore[no-any-return]


if __name__ == "__main__":
    serve(SqliteItems(os.environ["BENCH_DATABASE"]), int(sys.argv[1]))
