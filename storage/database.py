"""The interface of a database to the rest of the service. SQLite and PostgreSQL each have a room that implements it.

No error of a driver comes through: a failing database is DatabaseUnavailable, a broken unique constraint is
UniqueViolation, and any other error of a statement is a fault of ours.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Executable, Row, Select

R = TypeVar("R")


class UniqueViolation(Exception):
    """A change broke the unique constraint of that name (models), and was undone."""

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


class BestEffortWriter(ABC):
    """Writes without waiting; a power cut may lose them."""

    @abstractmethod
    def execute(self, statement: Executable, rows: list[dict[str, Any]]) -> None:
        """Runs the statement for each row. Raises DatabaseUnavailable, at once if another holds a lock."""

    @abstractmethod
    def transact(self, change: Callable[[Connection], object]) -> None:
        """Makes a change of several statements in one transaction. Raises DatabaseUnavailable in the same way."""

    @abstractmethod
    def close(self) -> None: ...


class Storage(ABC):
    """One database, open as long as the process runs."""

    @abstractmethod
    def first(self, statement: Executable) -> Row[Any] | None:
        """The first row, read now, or None. Raises DatabaseUnavailable."""

    @abstractmethod
    def all(self, statement: Executable) -> Sequence[Row[Any]]:
        """All rows, read now. Raises DatabaseUnavailable."""

    @abstractmethod
    def prepare(self, statement: Select[Any], make_row: Callable[[Iterable[Any]], R]) -> Callable[[str], R | None]:
        """A SELECT by one value for the hot path: compiled once, and run by the driver itself in a third of the time.

        The returned function reads the row now, or returns None, and raises DatabaseUnavailable. The values are those
        of the driver, so a Boolean may be 0 or 1.
        """

    @abstractmethod
    def ascii_lower(self, column: ColumnElement[str]) -> ColumnElement[str]:
        """The text with the letters A to Z in lower case, and no others, so that both databases find the same."""

    @abstractmethod
    def write(self, *tenants: str) -> AbstractContextManager[Connection]:
        """A transaction that is on the disk when it ends. Raises DatabaseUnavailable, UniqueViolation.

        The changes of a tenant come one after another: each sees all earlier commits, and gives out larger numbers.
        Without a tenant it changes rows that belong to no tenant.
        """

    @abstractmethod
    def best_effort_writer(self) -> BestEffortWriter: ...

    @abstractmethod
    def ping(self) -> None:
        """Raises DatabaseUnavailable unless a table can be read."""

    @abstractmethod
    def check(self) -> None:
        """Raises DatabaseUnavailable if the process has lost its database, without a query."""

    @abstractmethod
    def hurry(self, seconds: float) -> None:
        """Bounds the wait of all writes for a lock, when the service ends. A signal handler may call it."""

    @abstractmethod
    def watch_writers(self, note: Callable[[int], None]) -> None:
        """From now on tells how many writers of this process are at work or wait, whenever the number changes."""

    @abstractmethod
    def tidy(self) -> None:
        """Does the regular upkeep. It waits for no lock and blocks nobody. Raises DatabaseUnavailable."""

    @abstractmethod
    def settle(self) -> None:
        """Makes the database as complete on disk as it can be while it is open. Raises DatabaseUnavailable."""

    @abstractmethod
    def close(self) -> None: ...
