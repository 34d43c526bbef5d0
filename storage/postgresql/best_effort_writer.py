"""Writes that may be lost."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Connection, Executable, create_engine, event, text

from storage.database import BestEffortWriter
from storage.patience import waiting
from storage.postgresql.address import Address
from storage.postgresql.connection import Clock, check_out, driver, engine_options, translated

BATCH = 500  # rows in one transaction, whose locks others may be waiting for
PATIENCE = 1.0  # seconds
_BEGIN = text("SELECT set_config('lock_timeout', '20ms', true), set_config('synchronous_commit', 'off', true)")


class PostgresBestEffortWriter(BestEffortWriter):
    """On a connection of its own, which waits neither for a lock nor for the disk."""

    def __init__(self, address: Address, clock: Clock) -> None:
        self._address = address
        options = {**engine_options(address, 1), "isolation_level": "READ COMMITTED"}
        self._engine = create_engine("postgresql+psycopg://", **options)
        event.listen(self._engine, "connect", lambda connection, _: setattr(connection, "clock", clock))

    def execute(self, statement: Executable, rows: list[dict[str, Any]]) -> None:
        """In order of their keys, so that two processes that write the same rows do not wait for each other."""
        ordered = sorted(rows, key=lambda row: str(row["key_id"]))
        for start in range(0, len(ordered), BATCH):
            self.transact(partial(_run, statement, ordered[start : start + BATCH]))

    def transact(self, change: Callable[[Connection], object]) -> None:
        with waiting() as deadline, translated(self._address), check_out(self._engine, deadline) as connection:
            driver(connection).deadline = min(deadline, time.monotonic() + PATIENCE)
            connection.execute(_BEGIN)
            change(connection)
            connection.commit()

    def close(self) -> None:
        self._engine.dispose()


def _run(statement: Executable, rows: list[dict[str, Any]], connection: Connection) -> None:
    connection.execute(statement, rows)
