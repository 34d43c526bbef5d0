"""A database as the rest of the service knows it. SQLite and PostgreSQL each have a room that does what is said here.

Nothing of a driver comes through: a database that cannot do what it should is DatabaseUnavailable, a broken unique
constraint is UniqueViolation, and whatever else a statement raises is a fault of ours.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from sqlalchemy import Connection, Executable, Row, Select

R = TypeVar("R")


class UniqueViolation(Exception):
    """A change broke the unique constraint of that name (models), and nothing of it was made."""

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


class BestEffortWriter(ABC):
    """Writes that wait for nobody and may be lost in a power cut."""

    @abstractmethod
    def execute(self, statement: Executable, rows: list[dict[str, Any]]) -> None:
        """The statement for each row. Raises DatabaseUnavailable, at once where somebody else holds a lock."""

    @abstractmethod
    def close(self) -> None: ...


class Storage(ABC):
    """One database, open for as long as the process runs."""

    @abstractmethod
    def first(self, statement: Executable) -> Row[Any] | None:
        """The first row as of now, or None. Raises DatabaseUnavailable."""

    @abstractmethod
    def all(self, statement: Executable) -> Sequence[Row[Any]]:
        """Every row as of now. Raises DatabaseUnavailable."""

    @abstractmethod
    def prepare(self, statement: Select[Any], make_row: Callable[[Iterable[Any]], R]) -> Callable[[str], R | None]:
        """A SELECT by one value for the hot path: compiled here, and run by the driver itself in a third of the time.

        The function that is returned gives the row as of now, or None, and raises DatabaseUnavailable. The values are
        those of the driver, so that a Boolean may be 0 or 1.
        """

    @abstractmethod
    def write(self, tenant: str = "") -> AbstractContextManager[Connection]:
        """A transaction that is on the disk when it ends. Raises DatabaseUnavailable, UniqueViolation.

        The changes of a tenant come one after another: each sees all that was committed before it began, and the
        numbers that it gives out are larger. Without a tenant it is a change of what belongs to none.
        """

    @abstractmethod
    def best_effort_writer(self) -> BestEffortWriter: ...

    @abstractmethod
    def ping(self) -> None:
        """Raises DatabaseUnavailable unless a table of the database can be read."""

    @abstractmethod
    def check(self) -> None:
        """Raises DatabaseUnavailable where the process is known to have lost its database, without asking that."""

    @abstractmethod
    def hurry(self, seconds: float) -> None:
        """The service ends: a write that waits for a lock waits no longer than that. For a signal's handler, too."""

    @abstractmethod
    def tidy(self) -> None:
        """What is to be done now and then: waits for nobody and lets nobody wait. Raises DatabaseUnavailable."""

    @abstractmethod
    def settle(self) -> None:
        """Leaves the database as whole as it can be while it is open. Raises DatabaseUnavailable."""

    @abstractmethod
    def close(self) -> None: ...
