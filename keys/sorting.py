"""The order of a list of keys, and the cursor of its next page: the value and the number of the last key shown."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, func, or_

from models import KeyRow, api_keys

NEVER_USED = ""  # before every time
NEVER_ENDS = "~"  # after every time
DEFAULT = "-created"
MAX_SEQ = 2**63 - 1

_key = api_keys.c
# By its name in an address: what a list is sorted by. Keys with the same value are in order of creation.
_VALUES: dict[str, ColumnElement[Any]] = {
    "name": _key.name,
    "used": func.coalesce(_key.last_used_at, NEVER_USED),
    "expires": func.coalesce(_key.expires_at, NEVER_ENDS),
}
ORDERS = [sign + name for name in ("name", "used", "expires", "created") for sign in ("", "-")]


class Order(NamedTuple):
    name: str  # without the sign
    down: bool

    def sort(self, chosen: Select[Any], after: str) -> Select[Any]:
        """The keys in this order, from the cursor on. A cursor that is none, or of another order, is the beginning."""
        columns: list[ColumnElement[Any]] = [_VALUES[self.name], _key.seq] if self.name in _VALUES else [_key.seq]
        found = self._read(after)
        if found is not None:
            chosen = chosen.where(self._is_after(columns, found[-len(columns) :]))
        return chosen.order_by(*(column.desc() if self.down else column for column in columns))

    def cursor(self, row: KeyRow) -> str:
        """The cursor behind a row."""
        value = {
            "name": row.name,
            "used": row.last_used_at or NEVER_USED,
            "expires": row.expires_at or NEVER_ENDS,
        }.get(self.name, "")
        text = json.dumps([self.name, value, row.seq])
        return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()

    def _is_after(self, columns: list[ColumnElement[Any]], values: list[Any]) -> ColumnElement[bool]:
        *first, seq = [
            column < value if self.down else column > value for column, value in zip(columns, values, strict=True)
        ]
        return or_(*first, and_(columns[0] == values[0], seq)) if first else seq

    def _read(self, cursor: str) -> list[Any] | None:
        try:
            name, value, seq = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
            value.encode()
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None
        is_ours = name == self.name and isinstance(value, str) and "\0" not in value
        return [value, seq] if is_ours and type(seq) is int and 0 <= seq <= MAX_SEQ else None


def order(name: str) -> Order:
    """The order of that name, or the default one: the newest key first."""
    known = name if name in ORDERS else DEFAULT
    return Order(known.removeprefix("-"), known.startswith("-"))
