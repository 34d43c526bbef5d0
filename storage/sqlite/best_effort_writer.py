"""The writer for changes that may be lost."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, Executable

from storage.database import BestEffortWriter
from storage.sqlite.connection import ErrorTranslation, count_change, dbapi_connection, execute_raw


class SqliteBestEffortWriter(BestEffortWriter):
    """Writes on a connection that never waits for a lock and does not sync its commits: a power cut may lose them."""

    def __init__(self, engine: Engine, check_writable: Callable[[], None]) -> None:
        """`check_writable` raises DatabaseUnavailable if nothing may be written."""
        self._engine = engine
        self._check_writable = check_writable
        self._connection: Connection | None = None

    def execute(self, statement: Executable, rows: list[dict[str, Any]]) -> None:
        """Runs the statement for each row, in one transaction."""
        self.transact(lambda connection: connection.execute(statement, rows))

    def transact(self, change: Callable[[Connection], object]) -> None:
        self._check_writable()
        with ErrorTranslation():
            connection = self._connection or self._open()
            self._connection = None
            try:
                execute_raw(connection, "BEGIN IMMEDIATE")
                count_change(dbapi_connection(connection))
                change(connection)
                execute_raw(connection, "COMMIT")
            except BaseException:
                connection.close()
                raise
            self._connection = connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _open(self) -> Connection:
        connection = self._engine.connect()
        execute_raw(connection, "PRAGMA synchronous = NORMAL")
        execute_raw(connection, "PRAGMA busy_timeout = 0")
        return connection
