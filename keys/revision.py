"""The revision of a key, by which a form knows whether the key is still as it was shown.

It changes with every change of the key, and not with its uses: a key that is used all the time can be changed too.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable

from errors import KeyChanged
from models import KeyRow

_LENGTH = 16  # hexadecimal digits
_USES = ("last_used_at", "last_used_ip", "previous_last_used_at")
_COLUMNS = [column for column in KeyRow._fields if column not in _USES]


def rev(row: KeyRow) -> str:
    """The revision of one key."""
    return _digest([getattr(row, column) for column in _COLUMNS])


def family_rev(row: KeyRow, offspring: Iterable[str]) -> str:
    """The revision of a key together with the ids of its living offspring: which keys a cascade would delete."""
    return _digest([rev(row), *sorted(offspring)])


def require_unchanged(shown: str | None, actual: str) -> None:
    """Raises KeyChanged unless the revision that was shown is the actual one. None: nobody has looked before."""
    if shown is not None and not hmac.compare_digest(shown.encode(errors="replace"), actual.encode()):
        raise KeyChanged


def _digest(values: list[object]) -> str:
    # SQLite gives a flag as 0 or 1 where the driver itself reads a row.
    plain = [int(value) if isinstance(value, bool) else value for value in values]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:_LENGTH]
