"""How a time is written: RFC 3339 in UTC with microseconds and a `Z`, always 27 characters.

So the order of the texts is the order of time, and the value goes to the wire as it is, or shortened.
"""

from datetime import UTC, datetime


def timestamp(moment: datetime) -> str:
    """An aware datetime as the tables hold it."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def now() -> str:
    return timestamp(datetime.now(UTC))


def wire_time(value: str | None) -> str | None:
    """The same moment without a fraction that is zero."""
    return value.replace(".000000Z", "Z") if value else None
