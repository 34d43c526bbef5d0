"""The same base on PostgreSQL, through pools of SQLAlchemy of the same size as those of the service."""

import os
import sys
from typing import cast

from sqlalchemy import create_engine, make_url, text

from bench.bare import ROWS, Item, serve, some_items
from storage.postgresql.database import READERS
from storage.postgresql.writer_slots import WRITERS

_TABLE = text("CREATE TABLE items (id text PRIMARY KEY, name text NOT NULL UNIQUE, secret_hash text NOT NULL)")
_INSERT = text("INSERT INTO items VALUES (:id, :name, :secret_hash)")
_READ = text("SELECT id, name FROM items WHERE id = :id")


class PostgresItems:
    """Reads are statements of their own, so that the base, too, is one round trip: `BEGIN` and `ROLLBACK` are two."""

    def __init__(self, uri: str) -> None:
        url = make_url(uri).set(drivername="postgresql+psycopg")
        reading = {"isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None}
        self._readers = create_engine(url, pool_size=READERS, max_overflow=0, pool_use_lifo=True, **reading)
        self._writers = create_engine(url, pool_size=WRITERS, max_overflow=0, pool_use_lifo=True)
        items = some_items()
        with self._writers.begin() as transaction:
            transaction.execute(text("DROP TABLE IF EXISTS items"))
            transaction.execute(_TABLE)
            transaction.execute(_INSERT, [item._asdict() for item in items])
        self.wanted = items[ROWS // 2].id

    def read(self, item_id: str) -> tuple[str, str]:
        with self._readers.connect() as connection:
            return cast(tuple[str, str], tuple(connection.execute(_READ, {"id": item_id}).one()))

    def insert(self, item: Item) -> None:
        with self._writers.begin() as transaction:
            transaction.execute(_INSERT, item._asdict())

    def close(self) -> None:
        self._readers.dispose()
        self._writers.dispose()


if __name__ == "__main__":
    serve(PostgresItems(os.environ["BENCH_DATABASE"]), int(sys.argv[1]))
