"""Durations as people write them, a number and one of s, m, h, d, w; and in words."""

import re
from datetime import timedelta

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}  # seconds
IN_WORDS = {"year": 31_557_600, "month": 2_629_800, "day": 86_400, "hour": 3600, "minute": 60, "second": 1}  # seconds
_DURATION = re.compile(r"([0-9]+)([smhdw])")


def read_duration(text: str) -> timedelta | None:
    """None for a text that is written otherwise. One that is too long for a timedelta is the longest there is."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    try:
        return timedelta(seconds=int(match[1]) * UNITS[match[2]])
    except (OverflowError, ValueError):
        return timedelta.max


def write_duration(span: timedelta) -> str:
    """In the largest unit that leaves no fraction."""
    seconds = int(span.total_seconds())
    unit = next(unit for unit in reversed(UNITS) if seconds % UNITS[unit] == 0)
    return f"{seconds // UNITS[unit]}{unit}"


def counted(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"


def distance(seconds: float, least: str = "second") -> str | None:
    """How far a time lies ahead, or back if it is negative, as `in 3 days` or `4 minutes ago`.

    None if that is less than one `least`, a word of IN_WORDS.
    """
    for unit, size in IN_WORDS.items():
        if abs(seconds) > size * 0.99:
            span = counted(round(abs(seconds) / size), unit)
            return f"in {span}" if seconds > 0 else f"{span} ago"
        if unit == least:
            break
    return None
