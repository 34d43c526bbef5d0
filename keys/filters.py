"""The filters of a list of keys. They agree with `models.status`, and the moments are those of one call."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, false, func, true

from formats.times import timestamp
from models import api_keys

SOON = timedelta(days=14)  # before its end a key is `expiring`
LONG = timedelta(days=90)  # after its last use, or its creation, a key is `unused`
IN_USE = timedelta(days=7)  # after its last use a key still counts as in use

_key = api_keys.c


def conditions() -> dict[str, ColumnElement[bool]]:
    """The condition of each filter now; "" is the filter that every key passes."""
    active = ~_key.disabled & ~_expired()
    return {
        "": true(),
        "active": active,
        "expiring": ends_within(SOON),
        "unused": active & (last_sign() < _moment(-LONG)),
        "expired": ~_key.disabled & _expired(),
        "disabled": _key.disabled,
    }


def ends_within(span: timedelta) -> ColumnElement[bool]:
    """Whether a key is active, and not so any more when that time has passed."""
    return ~_key.disabled & ~_expired() & (_key.expires_at <= _moment(span))


def last_sign() -> ColumnElement[str]:
    """The last use of a key, or its creation if it was never used: a new key is not an unused one."""
    return func.coalesce(_key.last_used_at, _key.created_at)


def is_text(column: ColumnElement[str], value: str) -> ColumnElement[bool]:
    """Whether a column has this value. None holds U+0000, which PostgreSQL does not even take in a question."""
    return false() if "\0" in value else column == value


def needs_attention() -> ColumnElement[bool]:
    """Whether a key is in use and expires soon."""
    return conditions()["expiring"] & (_key.last_used_at > _moment(-IN_USE))


def in_grace() -> ColumnElement[bool]:
    """Whether two secrets of a key work."""
    return _key.previous_until > _moment(timedelta())


def is_soon(ends: str | None) -> bool:
    """Whether an end comes so soon that a key is `expiring`."""
    return ends is not None and ends <= _moment(SOON)


def is_lately(used: str | None) -> bool:
    """Whether a last use is so near that a key counts as in use."""
    return used is not None and used > _moment(-IN_USE)


def is_ahead(until: str | None) -> bool:
    """Whether a moment is still to come."""
    return until is not None and until > _moment(timedelta())


def _expired() -> ColumnElement[bool]:
    return _key.expires_at.is_not(None) & (_key.expires_at <= _moment(timedelta()))


def _moment(span: timedelta) -> str:
    return timestamp(datetime.now(UTC) + span)
