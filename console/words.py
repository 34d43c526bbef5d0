"""Times and numbers in words, for the templates."""

from datetime import UTC, datetime

from console import reader
from console.pages import bp
from formats.durations import counted, distance
from formats.times import wire_time


@bp.app_template_filter("relative")
def relative(at: str) -> str:
    """How far a time is away, as `in 3 days` or `4 minutes ago`."""
    seconds = (_moment(at) - datetime.now(UTC)).total_seconds()
    return distance(seconds, "minute") or ("in a moment" if seconds > 0 else "just now")


@bp.app_template_filter("local")
def local(at: str, form: str = "%Y-%m-%d %H:%M %Z") -> str:
    """A time in the reader's zone."""
    try:
        return _moment(at).astimezone(reader.zone()).strftime(form)
    except OverflowError:  # the last day of the year 9999, further east
        return _moment(at).strftime(form)


@bp.app_template_filter("iso")
def iso(at: str) -> str | None:
    """For the `datetime` of a `<time>`."""
    return wire_time(at)


@bp.app_template_filter("grouped")
def grouped(number: int) -> str:
    return f"{number:,}"


@bp.app_template_filter("short")
def short(number: int) -> str:
    """A number in a narrow column: exact below ten thousand."""
    if number < 10_000:
        return f"{number:,}"
    return f"{number / 1000:.0f}k" if number < 1_000_000 else f"{number / 1_000_000:.1f}M"


@bp.app_template_filter("span")
def span(seconds: int) -> str:
    """A length of time, as `24 hours` or `7 days`."""
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= size * (2 if unit == "day" else 1) and seconds % size == 0:
            return counted(seconds // size, unit)
    return counted(seconds, "second")


def _moment(at: str) -> datetime:
    return datetime.fromisoformat(at)
