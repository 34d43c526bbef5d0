"""The form of the table of settings: one row a setting, written as the default of an attribute of `Settings`."""

from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeVar, cast

from errors import StartupError

T = TypeVar("T")
Parser = Callable[[str, str], T]  # takes the name and the text of a setting; raises StartupError, which names it


def refuse(name: str, why: str) -> StartupError:
    return StartupError(f"{name} {why}")


def never(value: str) -> bool:
    return False


def always(value: str) -> bool:
    return True


@dataclass(frozen=True)
class Row:
    name: str  # of the environment variable
    default: Any  # None: unset
    parse: Parser[Any]
    unset: Any  # the attribute's value while the setting is unset
    is_secret: Callable[[str], bool]  # whether a log must not show this value
    for_commands: bool  # whether commands need the value that the server has


def setting(
    name: str,
    default: object,
    parse: Parser[T],
    *,
    secret: Callable[[str], bool] = never,
    for_commands: bool = False,
) -> T:
    """The row of a setting that always has a value. The default is parsed like any other value."""
    return cast(T, _field(Row(name, default, parse, None, secret, for_commands)))


def optional(
    name: str,
    unset: T,
    parse: Parser[T],
    *,
    secret: Callable[[str], bool] = never,
    for_commands: bool = False,
) -> T:
    """The row of a setting without a default. The attribute is `unset` until somebody sets it."""
    return cast(T, _field(Row(name, None, parse, unset, secret, for_commands)))


def rows(settings: type[Any]) -> dict[str, Row]:
    """The rows of a dataclass by the names of their variables, in the order of its attributes."""
    found: list[Row] = [attribute.metadata["row"] for attribute in fields(settings)]
    return {row.name: row for row in found}


def _field(row: Row) -> Field[Any]:
    """The dataclass field that carries the row; a secret stays out of the `repr`."""
    made: Field[Any] = field(metadata={"row": row}, repr=row.is_secret is never)
    return made
