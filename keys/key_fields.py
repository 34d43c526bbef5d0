"""The fields of a new key, and those of a change. The schemas make both from a request.

A field has the name of its column in the table of keys.
"""

import json
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from identity.rates import RateLimit, read_rate

WORDS = ("scopes", "hosts", "networks")  # columns that are words in one text


class Unset(Enum):
    """The value of a field that the caller left out, since null is a value too."""

    UNSET = "unset"


UNSET = Unset.UNSET
Value = str | bool | None  # of a column that a caller may set
Metadata = dict[str, str]


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
    hosts: tuple[str, ...] | Unset = UNSET  # left out: those of the acting key
    networks: tuple[str, ...] | Unset = UNSET
    rate_limit: RateLimit | Unset | None = UNSET
    metadata: Metadata | Unset = UNSET


@dataclass(frozen=True, kw_only=True)
class KeyChanges(KeyFields):
    name: str | Unset = UNSET
    description: str | Unset = UNSET
    role: str | Unset = UNSET
    scopes: tuple[str, ...] | Unset = UNSET
    expires_at: str | Unset | None = UNSET
    disabled: bool | Unset = UNSET
    hosts: tuple[str, ...] | Unset = UNSET
    networks: tuple[str, ...] | Unset = UNSET
    rate_limit: RateLimit | Unset | None = UNSET
    metadata: Metadata | Unset = UNSET

    @property
    def only_disables(self) -> bool:
        """Whether the `write` role is enough, without regard to the limits of the acting key."""
        return self == KeyChanges(disabled=True)

    @property
    def only_enables(self) -> bool:
        return self == KeyChanges(disabled=False)


def stored(value: Value | tuple[str, ...] | RateLimit | Metadata) -> Value:
    """A value in the form of its column: each is one text."""
    if isinstance(value, RateLimit):
        return str(value)
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True)
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def shown(column: str, value: Value) -> Any:
    """A value of a column in the form of the wire."""
    if column in WORDS and isinstance(value, str):
        return value.split()
    if column == "rate_limit" and isinstance(value, str):
        return rate_shown(value)
    return json.loads(value) if column == "metadata" and isinstance(value, str) else value


def rate_shown(value: str | None) -> dict[str, int] | None:
    rate = read_rate(value)
    return rate._asdict() if rate else None
