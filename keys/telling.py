"""What the audit tells about a change: the values of columns in the form of the wire."""

from collections.abc import Mapping

from keys.audit import Details
from keys.key_fields import Value, shown
from models import KeyRow

_ALWAYS = ("role", "scopes", "owner", "expires_at", "created_by_key")  # in the entry of a new key
_IF_GIVEN = ("hosts", "networks", "rate_limit")


def created(row: Mapping[str, Value]) -> Details:
    told = {column: shown(column, row[column]) for column in _ALWAYS}
    return told | {column: shown(column, row[column]) for column in _IF_GIVEN if row.get(column)}


def difference(before: KeyRow, changed: Mapping[str, Value]) -> Details:
    return {
        column: {"from": shown(column, getattr(before, column)), "to": shown(column, value)}
        for column, value in changed.items()
    }
