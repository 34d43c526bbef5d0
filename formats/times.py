"""The format of times: RFC 3339 in UTC with microseconds and a `Z`, always 27 characters.

So texts sort like the times they stand for, and they go to the wire unchanged or shortened.
"""

from datetime import UTC, datetime


def timestamp(moment: datetime) -> str:
    """An aware datetime in the form that the tables hold."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def now() -> str:
    return timestamp(datetime.now(UTC))


def wire_time(value: str | None) -> str | None:
    """The same time without a fraction of zero."""
    return value.replace(".000000Z", "Z") if value else None
