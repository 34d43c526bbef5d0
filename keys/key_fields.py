"""The fields of a new key, and those of a change. The schemas make both from a request.

A field has the name of its column in the table of keys.
"""

from dataclasses import dataclass, fields
from enum import Enum


class Unset(Enum):
    """The value of a field that the caller left out, since null is a value too."""

    UNSET = "unset"


UNSET = Unset.UNSET
Value = str | bool | None  # of a column that a caller may set


class KeyFields:
    def columns(self) -> dict[str, Value]:
        """The given fields, in the form of the table."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {name: stored(value) for name, value in given.items() if value is not UNSET}


@dataclass(frozen=True, kw_only=True)
class NewKey(KeyFields):
    name: str
    role: str = "write"
    scopes: tuple[str, ...] = ()
    description: str = ""
    expires_at: str | Unset | None = UNSET  # left out: the end of the acting key


@dataclass(frozen=True, kw_only=True)
class KeyChanges(KeyFields):
    name: str | Unset = UNSET
    description: str | Unset = UNSET
    role: str | Unset = UNSET
    scopes: tuple[str, ...] | Unset = UNSET
    expires_at: str | Unset | None = UNSET
    disabled: bool | Unset = UNSET

    @property
    def only_disables(self) -> bool:
        """Whether the `write` role is enough, without regard to the limits of the acting key."""
        return self == KeyChanges(disabled=True)


def stored(value: Value | tuple[str, ...]) -> Value:
    """A value in the form of its column: scopes are one text."""
    return " ".join(value) if isinstance(value, tuple) else value


def shown(column: str, value: Value) -> Value | list[str]:
    """A value of a column in the form of the wire."""
    return value.split() if column == "scopes" and isinstance(value, str) else value
