"""The interface of a database that is copied into another. SQLite and PostgreSQL each have a room with one."""

from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Column, Table


class CopyRefused(Exception):
    """The reason why a database is not copied, as one line."""


class HeldSource(ABC):
    """A database that nobody can change at the moment. All methods raise DatabaseUnavailable."""

    @abstractmethod
    def count(self, table: Table) -> int: ...

    @abstractmethod
    def rows(self, table: Table) -> Generator[tuple[Any, ...], None, None]:
        """All rows in the order of the primary key: each column as models declares it, in the order of models.

        Raises CopyRefused for a row that PostgreSQL cannot hold.
        """

    @abstractmethod
    def next_number(self, column: Column[Any]) -> int:
        """The number that the next row would get: larger than any before, those of deleted rows included."""


class Source(ABC):
    @abstractmethod
    def identity(self) -> str:
        """The same text for every address of one PostgreSQL database; empty for a file. Raises DatabaseUnavailable."""

    @abstractmethod
    def hold(self) -> AbstractContextManager[HeldSource]:
        """Keeps writers out until the end, while checks go on. Raises DatabaseUnavailable, also for a slow writer."""
